"""What a timeline shows, in plain sentences: each with its number, task and line."""

from __future__ import annotations

from lessons_support.timeline import Blocked, Timeline


def findings(timeline: Timeline) -> tuple[str, ...]:
    """The sentences that a timeline gives rise to, the most serious first."""
    return (
        *(_stood_still(step) for step in timeline.blocked),
        *(f"{x} was called and never awaited." for x in timeline.never_awaited),
        *(f"{x}, and nobody looked at it." for x in timeline.never_retrieved),
        *(f"{x} was still not done at the end." for x in timeline.left_over),
    )


def _stood_still(step: Blocked) -> str:
    who = ", ".join(filter(None, (step.lane or "a callback", step.where)))
    return f"The loop stood still for {step.end - step.start:.1f} s: {who}."
