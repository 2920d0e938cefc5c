"""Quota of webhooks: each reads the whole log, and asks somebody outside."""

from zcloud.domain.identity.quotas import counts

counts("webhook", "webhook.num", "20", "webhooks.")
