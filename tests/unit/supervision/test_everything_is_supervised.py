"""Whatever runs as long as its process is supervised; all other tasks and threads are listed here, with a reason."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[3] / "src" / "placerank"
#: What starts a task, a thread or a process.
STARTERS = {
    *("create_task", "ensure_future", "TaskGroup", "to_thread", "run_in_executor", "run_coroutine_threadsafe"),
    *("Thread", "Timer", "start_new_thread", "ThreadPoolExecutor", "ProcessPoolExecutor", "start_http_server"),
    *("Popen", "Process", "create_subprocess_exec", "create_subprocess_shell", "fork"),
}
#: How many calls in each file, and why they need no supervision.
ALLOWED = {
    ("supervision/tasks.py", "create_task"): (2, "the supervisor of tasks itself"),
    ("supervision/threads.py", "Thread"): (2, "the supervisor of threads itself"),
    ("supervision/escalation.py", "Thread"): (1, "forces the end of a process that is ending"),
    ("api/backlog.py", "create_task"): (1, "one count; its callers get its error"),
    ("api/coalescer.py", "create_task"): (1, "one flight; its callers get its error"),
    ("api/routes/content.py", "to_thread"): (2, "one request, which awaits it"),
    ("db/pool.py", "ensure_future"): (
        2,
        "one statement, awaited or abandoned by its request; or one look at idle connections",
    ),
    ("overview/sampler.py", "to_thread"): (1, "awaited by the sampler, which is supervised"),
    ("queue/outbox.py", "create_task"): (1, "one flight; its error is logged and the relay publishes again"),
    ("runtime.py", "ensure_future"): (1, "the check of the broker at the start, which logs its own errors"),
    ("runtime.py", "to_thread"): (1, "the same check"),
    ("embedded.py", "ThreadPoolExecutor"): (1, "stops the workers in parallel at the end"),
    ("cli/learning/rank.py", "ThreadPoolExecutor"): (1, "a command that ends; it gets the errors"),
    ("telemetry/exposition.py", "start_http_server"): (1, "MetricsServer.run waits for its thread, under supervision"),
    ("telemetry/tracing.py", "Thread"): (1, "waits for the end of the process, to send the last spans"),
    ("postgres/account.py", "Popen"): (1, "the server, watched by its keeper; initdb, which is waited for"),
    ("postgres/process.py", "Popen"): (1, "the watchdog, watched by the keeper"),
}


def started() -> dict[tuple[str, str], list[int]]:
    """File and function of each call that starts something, with its lines."""
    found: dict[tuple[str, str], list[int]] = {}
    for module in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call | ast.ClassDef):
                continue
            functions = [node.func] if isinstance(node, ast.Call) else node.bases
            for function in functions:
                name = ast.unparse(function).rpartition(".")[2]
                if name in STARTERS:
                    found.setdefault((str(module.relative_to(SOURCE)), name), []).append(node.lineno)
    return found


def test_nothing_is_started_outside_the_supervision_without_a_reason() -> None:
    found = started()
    unknown = {key: lines for key, lines in found.items() if key not in ALLOWED or len(lines) != ALLOWED[key][0]}
    assert not unknown, "use SupervisedTask or SupervisedThread, or say in ALLOWED why not"
    assert not ALLOWED.keys() - found.keys(), "this reason is not needed any more"


def test_an_import_under_another_name_does_not_hide_a_starter() -> None:
    hidden = [
        f"{module.relative_to(SOURCE)}:{node.lineno}"
        for module in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name in STARTERS and alias.asname
    ]
    assert not hidden
