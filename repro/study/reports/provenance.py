"""What a figure rests on: claims, notebook, runs, configurations, code."""

from __future__ import annotations

import hashlib

from rich.text import Text
from rich.tree import Tree

from repro.config import BEYOND, differences
from repro.config.checks import choice
from repro.optimizers.presets import CURVATURES_OF
from repro.study.claims.measurements import configs_of
from repro.study.claims.statements import FILE, STUDY, Claim, all_claims, claims_of, subject_of
from repro.study.claims.values import module_of
from repro.study.claims.verdicts import judge
from repro.study.reports.figures import notebook_paths
from repro.study.runs.profiles import PROFILES, configure
from repro.study.runs.store import STORED_RUNS, Run, RunSource, project_path

MODULES = {
    "fisher": "repro/vmc/metrics.py (fisher)",
    "decision": "repro/vmc/metrics.py (decision_metric)",
    "quasi-hessian": "repro/vmc/quasi_hessian.py",
}


def _code_of(optimizer: str) -> list[str]:
    """Where the parts of an optimiser are."""
    if optimizer == "adam":
        return ["repro/optimizers/base.py (from_optax), optax.adam"]
    if optimizer == "proximal-dgd":
        return [
            "repro/optimizers/proximal_step.py, derived in docs/proximal.md",
            "judgement: repro/vmc/energy_change.py",
        ]
    if optimizer in BEYOND:
        return ["repro/optimizers/sample_space.py"]
    metric, model = CURVATURES_OF[optimizer]
    lines = ["repro/optimizers/second_order.py", f"quadratic model: {MODULES[model]}"]
    if metric:
        lines.append(f"direction: {MODULES[metric]}, repro/solvers/minres.py")
    if optimizer.endswith("kfac"):
        lines.append("direction: repro/curvature/kronecker.py")
    return [*lines, "regulators: repro/optimizers/regulators.py"]


def _described(run: Run) -> str:
    """A run in one line: how it ended, where it was made, and how it differs from its profile."""
    result, config = run.result, run.config
    ended = "diverged"
    if run.complete:
        ended = f"E = {result['energy']:.6f} +- {result['energy_error']:.6f}"
    base = min(
        (
            configure(
                particles=config.system.particles,
                v0=config.system.v0,
                optimizer=config.optimizer.name,
                profile=profile,
                seed=config.seed,
            )
            for profile in PROFILES
        ),
        key=lambda other: len(differences(other, config)),
    )
    changed = "; ".join(differences(base, config))
    device = result["device"]
    place = f"{device['kind']} ({device['processor']}, {device['threads']} threads)"
    told = f"{run.path.name}: {ended}, {len(run.curve)} epochs, {place}, revision {result['git_revision'][:12]}"
    return told + (f"; {changed}" if changed else "")


def chain_of(figure: str) -> Tree:
    """The chain of a figure as a tree for the terminal.

    Raises:
        InputError: for a figure that has neither claim nor notebook.
    """
    notebooks = notebook_paths()
    if figure not in notebooks:
        known = sorted({claim.figure for claim in all_claims()} | set(notebooks))
        choice("figure", figure, known)
    root = project_path(STORED_RUNS)
    source = RunSource(root, root, quiet=True)
    tree = Tree(Text(figure, "bold"))
    notebook = notebooks[figure]
    digest = hashlib.sha256(notebook.read_bytes()).hexdigest()
    place = notebook.relative_to(project_path("")).as_posix()
    tree.add(f"notebook {place}, SHA-256 {digest[:16]}; make it with `repro figures {figure}`")
    claims = claims_of(figure)
    names: set[str] = set()
    for claim in claims:
        verdict = judge(claim, source)
        branch = tree.add(Text(claim.id, "bold").append(f" {claim.statement}", "not bold"))
        branch.add(f"source: {claim.source}")
        branch.add(Text(verdict.verdict, "bold").append(f": {verdict.told}", "not bold"))
        if verdict.needs:
            branch.add(f"needs {verdict.needs}")
        file = FILE if claim.chapter == STUDY else f"{claim.chapter}/{figure}.toml"
        what = f" of {claim.quantity!r}" if claim.quantity else ""
        branch.add(f"test {claim.test!r}{what}: repro/study/claims/{file}, repro/study/claims/verdicts.py")
        _add_runs(branch, claim, source)
        names |= set(claim.optimizers)
    code = tree.add("code")
    if (subject := subject_of(figure)) and subject.measured_by:
        function, file = subject.measured_by.rpartition(".")[2], module_of(subject).replace(".", "/")
        code.add(f"values: {function} in {file}.py")
    for name in sorted(names):
        part = code.add(name)
        for line in _code_of(name):
            part.add(line)
    code.add("the state as it was for a run: git show REVISION:FILE")
    return tree


def _add_runs(branch: Tree, claim: Claim, source: RunSource) -> None:
    configs = configs_of(claim) if claim.chapter == STUDY else []
    if not configs:
        return
    runs = source.available(configs)
    held = branch.add(f"{len(runs)} of {len(configs)} runs are stored in {STORED_RUNS}/")
    for run in runs:
        held.add(_described(run))
