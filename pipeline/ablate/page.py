"""``index.html``: what was compared and found, as one file that needs no network."""

from collections.abc import Sequence
from html import escape

from pipeline.ablate.plan import Arm, Plan
from pipeline.ablate.plots import Row, dots
from pipeline.ablate.summary import conclusions, is_found, p_value, percent, span
from schemas.ablation import AblationResults, SuiteFigures

_CSS = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222;
overflow-wrap:anywhere;background:#fff}
h1{font-size:1.6rem}h2{font-size:1.25rem;margin-top:2.2rem;border-bottom:1px solid #ddd}
table{border-collapse:collapse;font-size:.88rem;margin:.6rem 0}
td,th{padding:.16rem .6rem;text-align:right;border-bottom:1px solid #eee;white-space:nowrap}
td:first-child,th:first-child{text-align:left}svg{max-width:100%;height:auto}
.warning{background:#fff4d6;border-left:4px solid #e0a800;padding:.4rem .8rem;margin:.4rem 0}
.note{color:#666;font-size:.88rem}.wide{overflow-x:auto}.found{font-weight:600}
.pictures{display:flex;flex-wrap:wrap;gap:1rem}
"""


def make_page(plan: Plan, results: AblationResults) -> str:
    """Return the whole page; every text in it is escaped."""
    title = "Which label trains the better model?"
    held = "each third of the questions in turn" if results.rotate else "the test split"
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width'>",
        "<meta http-equiv='Content-Security-Policy' "
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>{title}</title><style>{_CSS}</style></head><body><h1>{title}</h1>",
        f"<p>{len(results.arms)} ways of labelling the same threads, compared with "
        f"<b>{escape(results.reference)}</b>; {results.seeds} seeds; held out: {held}.</p>",
        *(f"<p class='warning'>{escape(one)}</p>" for one in results.warnings),
        *(_suite(results, suite) for suite in results.suites),
        "<h2>The arms</h2>",
        _arms(plan, results),
        "<h2>How to read this</h2>",
        *_reading(plan, results),
        "</body></html>\n",
    ]
    return "\n".join(parts)


def _suite(results: AblationResults, suite: SuiteFigures) -> str:
    accuracy = {one.arm: one for one in suite.differences if one.figure == "accuracy"}
    plain = {one.arm: one for one in suite.differences if one.figure == "without_style"}
    ceiling = ""
    if suite.ceiling is not None and suite.ceiling.accuracy is not None:
        ceiling = f" · noise ceiling of its labels {percent(suite.ceiling.accuracy)} %"
    rows = [
        ["arm", "accuracy", "chosen longer", "chosen shorter", "without style", "sd of seeds"],
        *(
            [
                one.arm,
                span(one.accuracy),
                span(one.chosen_longer),
                span(one.chosen_shorter),
                span(one.without_style),
                percent(one.seed_deviation),
            ]
            for one in suite.arms
        ),
    ]
    against = [
        [
            *(f"minus {results.reference}", "accuracy", "p, Holm", "detectable"),
            *("without style", "p, Holm", "detectable"),
        ]
    ]
    for name, one in accuracy.items():
        other = plain.get(name)
        against.append(
            [name, span(one.difference, sign=True), p_value(one.p_holm), percent(one.detectable)]
            + (
                [
                    span(other.difference, sign=True),
                    p_value(other.p_holm),
                    percent(other.detectable),
                ]
                if other is not None
                else ["–"] * 3
            )
        )
    lines = [("chance", 0.5)]
    if suite.ceiling is not None and suite.ceiling.accuracy is not None:
        lines.append(("ceiling", suite.ceiling.accuracy))
    lines.append(("longer", suite.longer.value))
    pictures = (
        dots([Row(one.arm, one.accuracy) for one in suite.arms], lines, "accuracy, %"),
        dots(
            [Row(name, one.difference, strong=is_found(one)) for name, one in accuracy.items()],
            [("", 0.0)],
            f"minus {results.reference}, points",
        ),
    )
    said = "".join(f"<p class='found'>{escape(one)}</p>" for one in conclusions(results, suite))
    return (
        f"<h2>{escape(suite.name)}</h2><p class='note'>{suite.comparisons:,} comparisons of "
        f"{suite.questions:,} {'questions' if suite.kind == 'forum' else 'prompts'}{ceiling} · "
        f"the longer response wins {span(suite.longer)}</p>{said}"
        f"<div class='pictures'>{''.join(pictures)}</div>{_table(rows)}{_table(against)}"
    )


def _arms(plan: Plan, results: AblationResults) -> str:
    by_name = {arm.name: arm for arm in plan.arms}
    rows = [["arm", "label", "pairs", "questions", "words", "chosen longer"]]
    for size in results.arms:
        rows.append(
            [
                size.arm,
                _label(by_name[size.arm]),
                f"{size.pairs:,}",
                f"{size.questions:,}",
                f"{size.words:,}",
                f"{percent(size.longer)} %",
            ]
        )
    return _table(rows)


def _label(arm: Arm) -> str:
    words = [f"--votes {arm.votes}"]
    words += [f"{name} = {value}" for name, value in arm.curate.items()]
    words += [f"loss.{name} = {value}" for name, value in arm.loss.items()]
    words += [f"control: {arm.control}"] if arm.control else []
    return ", ".join(words)


def _reading(plan: Plan, results: AblationResults) -> Sequence[str]:
    equal = (
        "All arms have the same number of pairs in each split and length."
        if plan.equal
        else "Each arm has all of its pairs, so differences are of label and amount together."
    )
    texts = (
        f"{equal} Models: {results.features}.",
        f"Brackets are 95 % intervals over {results.bootstrap:,} resamplings of the questions "
        "(and of the seeds, where there are several); differences are paired: the same questions, "
        "the same seeds. They do not say what other forums or other models would give.",
        "p is two-sided and corrected over the arms of a suite (Holm). Detectable: the true "
        "difference in points that this suite would have shown at the corrected level 4 times in "
        "5. No difference found is no evidence of none below it.",
        "Without style: with length, headers, lists and bold taken out of the scores. The noise "
        "ceiling is what votes as few as these let any model reach.",
        "A control that does as well as a label says that the label's votes taught nothing that "
        "this suite asks for.",
    )
    return [f"<p>{escape(text)}</p>" for text in texts]


def _table(rows: list[list[str]]) -> str:
    head, *body = rows
    lines = ["".join(f"<th>{escape(cell)}</th>" for cell in head)]
    lines += ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in body]
    return f"<div class='wide'><table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table></div>"
