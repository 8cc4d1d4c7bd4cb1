"""The metadata block of a dataset card, and the few of the Hub's checks that matter here."""

import re
from typing import Any

import yaml


def front_matter(text: str) -> dict[str, Any] | None:
    """The YAML between the first two ``---`` lines; ValueError when it is no mapping."""
    found = re.match(r"\s*---\r?\n(.*?)\r?\n---\r?(?:\n|$)", text, re.DOTALL)
    if found is None:
        return None
    loaded = yaml.safe_load(found[1])
    if loaded is not None and not isinstance(loaded, dict):
        raise ValueError("metadata must be an object")
    return loaded


def faults_of(text: str) -> tuple[list[str], list[str]]:
    """The errors and the warnings about a card."""
    try:
        metadata = front_matter(text)
    except yaml.YAMLError as error:
        return [f"YAML: {str(error).splitlines()[0]}"], []
    except ValueError as error:
        return [str(error)], []
    if not metadata:
        return [], ["empty or missing yaml metadata in repo card"]
    errors = []
    configs = metadata.get("configs", [])
    if not isinstance(configs, list):
        errors.append('"configs" must be an array')
    else:
        errors += [
            f'"configs[{place}].config_name" is required'
            for place, config in enumerate(configs)
            if not isinstance(config, dict) or "config_name" not in config
        ]
    for name in ("tags", "size_categories", "task_categories"):
        if name in metadata and not isinstance(metadata[name], list):
            errors.append(f'"{name}" must be an array')
    return errors, []
