"""``report``: runs in, one page out, with its tables and plots beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_headroom.errors import ConfigError, ResultsError
from asr_headroom.metrics.significance import ClusterBy
from asr_headroom.report.figures import save_figures
from asr_headroom.report.model_card import choose_system, write_model_card
from asr_headroom.report.page import Page, render_page
from asr_headroom.report.published import Beside, load_published, set_beside
from asr_headroom.report.sections.published import published_markdown
from asr_headroom.report.tables import TestTable, build_tables, to_json, to_markdown
from asr_headroom.results.readers import read_results
from asr_headroom.results.schema import RunInfo
from asr_headroom.results.store import Results, load_results, write_whole
from asr_headroom.text.normalize import get_normalizer

__all__ = ["ReportConfig", "Written", "find_runs", "report"]


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Show what runs found."""

    runs: tuple[str, ...]
    """Run directories, folders that hold them, or files of predictions; the base first."""

    output: str
    """The page, ending in .html; or a folder, which gets index.html, tables.md, tables.json and the plots."""

    tables: str | None = None
    """Also write the tables to this file, .md or .json."""

    figures: str | None = None
    """Also write the plots to this folder, as SVG, PNG and CSV."""

    model_card: str | None = None
    """Also write a model card for the hub to this file, README.md by custom."""

    card_of: str | None = None
    """System that the card is about; by default the only fine-tuned one."""

    license: str | None = None
    """Of the model, for its card: an id of the hub such as apache-2.0."""

    title: str = "What fine-tuning bought"
    """Of the page."""

    base: str | None = None
    """Compare every system with the one of this name; by default with its parent."""

    normalizer: str | None = None
    """Text clean-up before scoring; the runs' own otherwise."""

    cluster: ClusterBy = "auto"
    """What the intervals resample as a whole."""

    reference: str | None = None
    """File of the references, where prediction files hold hypotheses alone."""

    language: str | None = None
    """Of prediction files, as a tag such as fr or zh-CN; stated in the file or guessed otherwise."""

    published: str | None = None
    """YAML or JSON file of published values (model, metric, value) to print beside the obtained ones."""

    price_per_hour: float | None = None
    """Of the machine, in any currency; draws cost against error rate, too."""

    margin: float | None = None
    """Loss in points that would not matter, chosen beforehand; says whether each system stays within it."""

    max_clips: int = 50
    """Recordings embedded, at most."""

    def __post_init__(self) -> None:
        problems = []
        if not self.runs:
            problems.append("report needs at least one run directory or file of predictions")
        if self.max_clips < 0:
            problems.append(f"max_clips is {self.max_clips}; it must be at least 0")
        if self.margin is not None and not 0 < self.margin < 100:
            problems.append(f"margin is {self.margin}; it must be points between 0 and 100, such as 0.5")
        if self.price_per_hour is not None and not self.price_per_hour > 0:
            problems.append(f"price_per_hour is {self.price_per_hour}; it must be above 0")
        if self.tables and Path(self.tables).suffix not in (".md", ".json"):
            problems.append(f"tables is {self.tables}; the name must end in .md or .json")
        if self.output.endswith(".html") and Path(self.output).is_dir():
            problems.append(f"output {self.output} is a directory; give the name of a file, or another folder")
        if problems:
            raise ConfigError("\n".join(problems))


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a report left behind.

    Attributes:
        page_path: the page.
        page: its text and how many recordings are in it.
        tables: what it shows.
        files: everything written, the page first.
    """

    page_path: Path
    page: Page
    tables: Sequence[TestTable]
    files: Sequence[Path]


def report(config: ReportConfig) -> Written:
    """Writes the page; with a folder as output, also tables.md, tables.json and the plots.

    Raises:
        UsageError: a name in the config is unknown, published values are malformed, or a card could be about several.
        ResultsError: a source cannot be read, a folder holds no run, or something cannot be written.
    """
    tables = build_tables(
        [results for source in config.runs for results in _read(source, config)],
        normalizer=get_normalizer(config.normalizer) if config.normalizer else None,
        cluster=config.cluster,
        base=config.base,
    )
    values = load_published(config.published) if config.published else ()
    beside = set_beside(tables, values, cluster=config.cluster)
    target = Path(config.output)
    is_page = target.suffix == ".html"
    page_path = target if is_page else target / "index.html"
    table_paths = [] if is_page else [target / "tables.md", target / "tables.json"]
    if config.tables:
        table_paths = [Path(config.tables)]
    texts = {path: _table_text(tables, beside, path) for path in table_paths}
    if config.model_card:
        texts[Path(config.model_card)] = _model_card(tables, config)
    page = render_page(
        tables,
        title=config.title,
        max_clips=config.max_clips,
        cluster=config.cluster,
        published=beside,
        price_per_hour=config.price_per_hour,
        margin=None if config.margin is None else config.margin / 100,
    )
    figures = Path(config.figures) if config.figures else None if is_page else target
    try:
        for path, text in {page_path: page.html, **texts}.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, text)
        drawn = save_figures(tables, figures, price_per_hour=config.price_per_hour) if figures else ()
    except OSError as error:
        raise ResultsError(
            f"{target}: cannot be written ({error.strerror or error}); check --output and the disk"
        ) from error
    return Written(page_path=page_path, page=page, tables=tables, files=[page_path, *texts, *drawn])


def _read(source: str, config: ReportConfig) -> list[Results]:
    """The runs below a folder, or what one file of predictions holds."""
    if Path(source).is_dir():
        return [load_results(directory) for directory in find_runs(source)]
    return [read_results(source, reference=config.reference, language=config.language)]


def _model_card(tables: Sequence[TestTable], config: ReportConfig) -> str:
    system = choose_system(tables, config.card_of)
    run = next(row.results.run for table in tables for row in table.rows if row.name == system)
    return write_model_card(tables, system, licence=config.license, training=_training_of(run))


def _training_of(run: RunInfo) -> dict[str, Any]:
    """Budget and settings, where the folder that the model was trained in is at hand."""
    record = Path(str(run.model.get("id", ""))).parent / "train.json"
    try:
        settings = json.loads(record.read_text(encoding="utf-8"))["config"]
        return {name: settings.get(name) for name in ("budget", "learning_rate", "seed")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # a card of a model from elsewhere says less


def _table_text(tables: Sequence[TestTable], beside: Sequence[Beside], path: Path) -> str:
    if path.suffix == ".md":
        return "\n".join(filter(None, (to_markdown(tables), published_markdown(beside))))
    return json.dumps(to_json(tables), ensure_ascii=False, indent=1) + "\n"


def find_runs(folder: str | Path) -> list[Path]:
    """Run directories at or below a folder, sorted.

    Raises:
        ResultsError: there is none.
    """
    runs = sorted(path.parent for path in Path(folder).rglob("run.json"))
    if not runs:
        raise ResultsError(f"{folder}: holds no run; give a run directory, or a folder that `asr-headroom bench` wrote")
    return runs
