"""Quotas of schedulers and of what they run."""

from zcloud.domain.identity.quotas import counts

counts("scheduler", "scheduler.num", "80", "schedulers.")
counts("scheduler_job", "scheduler.job.num", "80", "scheduled jobs.")
