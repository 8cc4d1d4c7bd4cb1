# The image of a Beam worker that can run forumprefs: for Dataflow (--sdk_container_image) and for
# worker pools beside Flink's TaskManagers. docs/runners.md says how to use it.
#
#   docker build --tag REGISTRY/forumprefs-worker:0.1.0 .
#
# The versions of Python and Beam must be those of the machine that submits the job.
ARG BEAM=2.77.0
FROM apache/beam_python3.11_sdk:${BEAM}

COPY pyproject.toml setup.py constraints.txt README.md LICENSE /opt/forumprefs/
COPY schemas /opt/forumprefs/schemas
COPY transforms /opt/forumprefs/transforms
COPY pipeline /opt/forumprefs/pipeline
COPY dags /opt/forumprefs/dags
COPY training /opt/forumprefs/training

# The model of language identification is in a wheel, so workers fetch nothing when they start. The
# versions are those of constraints.txt, as where `make` installs: workers must have what the machine
# has that submits the job.
RUN pip install --no-cache-dir --constraint /opt/forumprefs/constraints.txt pip setuptools \
    && pip install --no-cache-dir --constraint /opt/forumprefs/constraints.txt \
        --build-constraint /opt/forumprefs/constraints.txt '/opt/forumprefs[gcp,hub]' \
    && python -c "from transforms.filters.language import known_languages; import pipeline.curate.graph" \
    && pip check

# ENTRYPOINT stays Beam's: /opt/apache/beam/boot.
