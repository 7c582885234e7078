"""Stages of one's own in the lifecycle of definitions: a naming policy, and an announcer that calls a webhook.

    callboard serve \\
      --stage publish:after:validate=callboard.examples.stages.policies:verbs_first \\
      --stage publish:after:announce=callboard.examples.stages.policies:announce

A stage is given the frozen value of its place and returns nothing. Before `record` one that raises refuses the change
with its message; after it the change stands, the stage is tried again, and what it said last is in the answer.
"""

from __future__ import annotations

import json
import os
import urllib.request
from typing import Any

from callboard.runtime.lifecycle.publishing import Validated
from callboard.runtime.lifecycle.recording import Announced

WEBHOOK_VARIABLE = "ANNOUNCE_WEBHOOK"
"""The environment variable that holds the address to call."""
WEBHOOK_SECONDS = 5


def verbs_first(validated: Validated) -> None:
    """Our operations are called `verb_noun`, so that a queue says what is done in it."""
    for step in validated.loaded.reading.definition.steps:
        if step.task is not None and "_" not in step.task.operation:
            raise ValueError(f"step {step.id!r}: the operation {step.task.operation!r} is not named verb_noun")


def announce(announced: Announced[Any]) -> None:
    """Tell a webhook what has been published. It may be called more than once for one change."""
    recorded = announced.recorded
    told = [
        {
            "definition_id": part.definition_id,
            "version": part.decision.after.published,
            "revision": recorded.revision,
            "changed": part.decision.changed,
        }
        for part in recorded.decided.parts
    ]
    request = urllib.request.Request(
        os.environ[WEBHOOK_VARIABLE],
        data=json.dumps(told).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=WEBHOOK_SECONDS):
        pass
