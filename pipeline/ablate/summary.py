"""What the results say, in sentences and as a table in text."""

from collections.abc import Iterator

from schemas.ablation import AblationResults, ArmDifference, Span, SuiteFigures

LEVEL = 0.05


def summary(results: AblationResults) -> str:
    """Each suite's table, and what follows from it."""
    parts = []
    for suite in results.suites:
        ceiling = (
            f", noise ceiling {percent(suite.ceiling.accuracy)} %"
            if suite.ceiling is not None and suite.ceiling.accuracy is not None
            else ""
        )
        parts.append(
            f"\n{suite.name}: {suite.comparisons:,} comparisons of {suite.questions:,} questions"
            f"{ceiling}, longer wins {span(suite.longer)}"
        )
        width = max(len(one.arm) for one in suite.arms)
        by_arm = {one.arm: one for one in suite.differences if one.figure == "accuracy"}
        for figures in suite.arms:
            line = f"  {figures.arm:<{width}}  {span(figures.accuracy)}"
            if (one := by_arm.get(figures.arm)) is not None:
                line += (
                    f"  {span(one.difference, sign=True)} to {results.reference}, "
                    f"p {p_value(one.p_holm)} (Holm), detectable {100 * one.detectable:.1f}"
                )
            parts.append(line)
        parts += [f"  {sentence}" for sentence in conclusions(results, suite)]
    parts += [f"note: {warning}" for warning in results.warnings]
    return "\n".join(parts).lstrip("\n")


def conclusions(results: AblationResults, suite: SuiteFigures) -> Iterator[str]:
    """What may be said of a suite: which arms differ, and what could not have been seen."""
    compared = [one for one in suite.differences if one.figure == "accuracy"]
    if not compared:
        return
    better = [one for one in compared if is_found(one) and one.difference.value > 0]
    worse = [one for one in compared if is_found(one) and one.difference.value < 0]
    for arms, word in ((better, "better"), (worse, "worse")):
        if arms:
            yield f"{', '.join(one.arm for one in arms)}: {word} than {results.reference}."
    alike = [one for one in compared if not one.detectable]
    if alike:
        yield (
            f"{', '.join(one.arm for one in alike)}: every comparison ends as under "
            f"{results.reference}."
        )
    rest = [one for one in compared if not is_found(one) and one not in alike]
    if rest:
        low, high = (100 * end(one.detectable for one in rest) for end in (min, max))
        yield (
            f"No difference to {results.reference} was found for "
            f"{', '.join(one.arm for one in rest)}; one of {low:.1f} to {high:.1f} points would "
            "have been, 4 times in 5."
        )


def is_found(one: ArmDifference) -> bool:
    """Whether a difference stands after Holm's correction."""
    return one.p_holm < LEVEL


def p_value(value: float) -> str:
    """Three digits; those of a bootstrap are never 0."""
    return "< 0.001" if value < 0.0005 else f"{value:.3f}"


def percent(value: float) -> str:
    """A share in percent, one decimal."""
    return f"{100 * value:.1f}"


def span(one: Span | None, *, sign: bool = False) -> str:
    """A share with its interval, in percent."""
    if one is None:
        return "–"
    form = "+.1f" if sign else ".1f"
    return f"{100 * one.value:{form}} [{100 * one.low:{form}}, {100 * one.high:{form}}]"
