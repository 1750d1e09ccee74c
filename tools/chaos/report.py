"""What a run came to: `tools/bench/chaos.json` and a table."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from tools.local.screen import Screen

_SHOWN = 5


@dataclass(frozen=True)
class Report:
    """The numbers of one run. The bars are `lost` to `dlq_after_redrive`, and each crash point's count."""

    seed: int
    accepted: int
    lost: int
    paid_twice: int
    not_terminal: int
    conflicting_final_states: int
    dlq_after_redrive: int
    faults: Mapping[str, int]
    crash_points: Mapping[str, int]
    seconds: float
    jobs: int
    fresh_attempts: int
    redriven: int
    crashes_wanted_each: int
    endings: Mapping[str, int]
    outputs_left_at_replicate: int
    webhooks_not_delivered: int

    @property
    def bars(self) -> dict[str, bool]:
        """Each promise and whether it held."""
        fewest = min(self.crash_points.values(), default=0)
        return {
            f"accepted {self.accepted} of {self.jobs}": self.accepted == self.jobs,
            f"lost {self.lost}": self.lost == 0,
            f"paid twice {self.paid_twice}": self.paid_twice == 0,
            f"not terminal {self.not_terminal}": self.not_terminal == 0,
            f"two final states {self.conflicting_final_states}": self.conflicting_final_states == 0,
            f"dead letters after redrive {self.dlq_after_redrive}": self.dlq_after_redrive == 0,
            f"fewest crashes at a boundary {fewest}, wanted {self.crashes_wanted_each}": (
                fewest >= self.crashes_wanted_each
            ),
        }

    @property
    def met(self) -> bool:
        return all(self.bars.values())

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    def show(self, screen: Screen) -> None:
        table = Table("fault", "times", title=f"Faults, seed {self.seed}", title_justify="left")
        for name, count in sorted(self.faults.items()):
            table.add_row(name, str(count))
        crashes = Table("crash point", "times", title="Crashes", title_justify="left")
        for name, count in self.crash_points.items():
            crashes.add_row(name, str(count))
        screen.console.print(table, crashes)
        screen.print(
            "endings: " + ", ".join(f"{name} {count}" for name, count in sorted(self.endings.items()))
        )
        screen.print(
            f"fresh attempts after transient failures {self.fresh_attempts}, "
            f"dead letters redriven {self.redriven}, "
            f"outputs left at Replicate {self.outputs_left_at_replicate}, "
            f"application webhooks not delivered {self.webhooks_not_delivered}"
        )
        for name, held in self.bars.items():
            screen.print(f"[green]✓[/] {name}" if held else f"[red]✗ {name}[/]")
        screen.print(f"{self.seconds:.0f} s")


def offenders(screen: Screen, found: Mapping[str, list[str]]) -> None:
    """The first few jobs that broke each promise, to look into."""
    for name, job_ids in found.items():
        if job_ids:
            screen.print(
                f"[red]{name}[/]: {', '.join(job_ids[:_SHOWN])}{' …' if len(job_ids) > _SHOWN else ''}"
            )
