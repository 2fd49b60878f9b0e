"""How jobs on boxes, their lines and their artifacts are shown."""

from __future__ import annotations

from marshmallow.fields import Boolean, Function, Integer, List, String

from models.views import View
from models.views.fields import Timestamp


class BoxJobView(View):
    """A job; of its environment only the names."""

    id = String(attribute="uid")
    orgId = String(attribute="org.uid")  # noqa: N815 (the contract's name)
    boxId = Function(lambda job: job.box.uid if job.box else None)  # noqa: N815
    boxGroupId = Function(lambda job: job.box_group.uid if job.box_group else None)  # noqa: N815
    createdById = Function(lambda job: job.created_by.uid if job.created_by else None)  # noqa: N815
    command = String()
    args = List(String())
    scriptName = String(attribute="script_name")  # noqa: N815
    envNames = List(String(), attribute="env_names")  # noqa: N815
    timeoutSeconds = Integer(attribute="timeout_s")  # noqa: N815
    resourceLock = Boolean(attribute="resource_lock")  # noqa: N815
    requiredCapabilities = List(String(), attribute="required_capabilities")  # noqa: N815
    status = String()
    exitCode = Integer(attribute="exit_code")  # noqa: N815
    failureReason = String(attribute="failure_reason")  # noqa: N815
    cancelReason = String(attribute="cancel_reason")  # noqa: N815
    rerunOfJobId = Function(lambda job: job.rerun_of.uid if job.rerun_of else None)  # noqa: N815
    queuedAt = Timestamp(attribute="queued_at")  # noqa: N815
    dispatchedAt = Timestamp(attribute="dispatched_at")  # noqa: N815
    startedAt = Timestamp(attribute="started_at")  # noqa: N815
    finishedAt = Timestamp(attribute="finished_at")  # noqa: N815
    lastSequenceNum = Integer(attribute="last_sequence")  # noqa: N815
    artifactCount = Integer(attribute="artifact_count")  # noqa: N815
    createdAt = Timestamp(attribute="created_at")  # noqa: N815
    updatedAt = Timestamp(attribute="updated_at")  # noqa: N815


class LineView(View):
    """A line a job wrote; its job is said beside it."""

    sequenceNum = Integer(attribute="sequence")  # noqa: N815
    stream = String()
    line = String()
    truncated = Boolean()
    timestamp = Timestamp(attribute="written_at")


class ArtifactView(View):
    """A file a job made."""

    id = String(attribute="uid")
    orgId = String(attribute="job.org.uid")  # noqa: N815
    jobId = String(attribute="job.uid")  # noqa: N815
    name = String()
    contentType = String(attribute="content_type")  # noqa: N815
    sizeBytes = Integer(attribute="size")  # noqa: N815
    storageKey = String(attribute="storage_key")  # noqa: N815
    checksum = String()
    uploadState = String(attribute="state")  # noqa: N815
    uploadedAt = Timestamp(attribute="uploaded_at")  # noqa: N815
    createdAt = Timestamp(attribute="created_at")  # noqa: N815
    updatedAt = Timestamp(attribute="updated_at")  # noqa: N815
