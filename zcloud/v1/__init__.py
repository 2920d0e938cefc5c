"""Generated from proto/zcloud/v1; only this file is kept."""
