"""The report of a run: `tools/bench/chaos.json`, and tables on the screen."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from replicate_proxy.costs.money import format_usd
from tools.local.screen import Screen

_MAX_PRINTED_IDS = 5


@dataclass(frozen=True)
class Report:
    """The numbers of one run. `criteria` says which of them decide."""

    seed: int
    accepted: int
    lost: int
    paid_twice: int
    not_terminal: int
    conflicting_final_states: int
    dead_letters_after_redrive: int
    faults: Mapping[str, int]
    crashes_by_checkpoint: Mapping[str, int]
    seconds: float
    jobs: int
    retries: int
    redriven_messages: int
    required_crashes_per_checkpoint: int
    final_statuses: Mapping[str, int]
    outputs_not_stored: int
    webhooks_not_delivered: int
    webhooks_lost_in_restart: int
    wrong_costs: int
    billed_micro_usd: int
    cost_micro_usd: int
    estimated_costs: int
    unknown_costs: int

    @property
    def criteria(self) -> dict[str, bool]:
        """Each pass criterion, and whether it is met."""
        fewest = min(self.crashes_by_checkpoint.values(), default=0)
        required = self.required_crashes_per_checkpoint
        return {
            f"accepted {self.accepted} of {self.jobs}": self.accepted == self.jobs,
            f"lost {self.lost}": self.lost == 0,
            f"paid twice {self.paid_twice}": self.paid_twice == 0,
            f"not terminal {self.not_terminal}": self.not_terminal == 0,
            f"conflicting final states {self.conflicting_final_states}": self.conflicting_final_states == 0,
            f"wrong costs {self.wrong_costs}": self.wrong_costs == 0,
            f"webhooks not delivered {self.webhooks_not_delivered}": self.webhooks_not_delivered == 0,
            f"dead letters after redrive {self.dead_letters_after_redrive}": (
                self.dead_letters_after_redrive == 0
            ),
            f"fewest crashes at a checkpoint {fewest}, required {required}": fewest >= required,
        }

    @property
    def passed(self) -> bool:
        """Whether every criterion is met."""
        return all(self.criteria.values())

    def write(self, path: Path) -> None:
        """Write the numbers as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    def print(self, screen: Screen) -> None:
        """Print the numbers and the criteria."""
        faults = Table("fault", "times", title=f"Faults, seed {self.seed}", title_justify="left")
        for name, count in sorted(self.faults.items()):
            faults.add_row(name, str(count))
        crashes = Table("checkpoint", "times", title="Crashes", title_justify="left")
        for name, count in self.crashes_by_checkpoint.items():
            crashes.add_row(name, str(count))
        screen.console.print(faults, crashes)
        statuses = ", ".join(f"{name} {count}" for name, count in sorted(self.final_statuses.items()))
        screen.print(f"final statuses: {statuses}")
        screen.print(
            f"retries after transient failures {self.retries}, "
            f"messages redriven {self.redriven_messages}, "
            f"outputs not stored {self.outputs_not_stored}, "
            f"webhooks lost in the restart {self.webhooks_lost_in_restart}"
        )
        screen.print(
            f"billed ${format_usd(self.billed_micro_usd)}, costs ${format_usd(self.cost_micro_usd)}; "
            f"estimates {self.estimated_costs}, unknown costs {self.unknown_costs}"
        )
        for name, is_met in self.criteria.items():
            screen.print(f"[green]✓[/] {name}" if is_met else f"[red]✗ {name}[/]")
        screen.print(f"{self.seconds:.0f} s")


def print_violations(screen: Screen, job_ids_by_violation: Mapping[str, Sequence[str]]) -> None:
    """Print the first few jobs of each violation, for further inspection."""
    for name, job_ids in job_ids_by_violation.items():
        if job_ids:
            more = " …" if len(job_ids) > _MAX_PRINTED_IDS else ""
            screen.print(f"[red]{name}[/]: {', '.join(job_ids[:_MAX_PRINTED_IDS])}{more}")
