"""The model that a student with an adapter began as, in the student's own memory: reference, or teacher of itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace

from video_opd.policy.adapters import without_adapter
from video_opd.policy.load import Policy, Work


class BasePolicy(Policy):
    """A student without its adapter, in the same memory: the model as it was before training."""

    @classmethod
    def under(cls, student: Policy) -> BasePolicy:
        """The base of a student that trains an adapter."""
        values = {field.name: getattr(student, field.name) for field in fields(Policy) if field.name != "work"}
        return cls(**values)

    @contextmanager
    def precision(self) -> Iterator[None]:
        """As the student's; inside it the adapter is off."""
        with super().precision(), without_adapter(self.model):
            yield

    def freeze(self) -> Policy:
        """Nothing to do: only the adapter has a gradient, and it is off here."""
        return self


def make_base(student: Policy) -> Policy:
    """The base of a student, as a function at the top of a module, which can be sent to other processes."""
    return BasePolicy.under(student)


def make_twin(policy: Policy) -> Policy:
    """The same frozen model in another part, such as the reference: the same weights, with work of its own."""
    return replace(policy, work=Work())
