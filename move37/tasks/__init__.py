"""Tasks: batches and their score."""

from move37.tasks.language import Language
from move37.tasks.recall import Recall
from move37.tasks.state_tracking import StateTracking
from move37.tasks.task import Task

__all__ = ["TASKS", "Task", "task"]

TASKS: tuple[Task, ...] = (Language(), Recall(), StateTracking())


def task(name: str) -> Task:
    """Returns the task of that name; raises KeyError if there is none."""
    return {one.name: one for one in TASKS}[name]
