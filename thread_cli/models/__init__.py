"""Kinds of models. What a model is to the engine is told by `thread_cli.contracts.model`."""

from thread_cli.contracts.model import (
    Completion,
    Conversation,
    Local,
    Message,
    Model,
    Opens,
    Request,
    StopReason,
    Usage,
)

__all__ = [
    "Completion",
    "Conversation",
    "Local",
    "Message",
    "Model",
    "Opens",
    "Request",
    "StopReason",
    "Usage",
]
