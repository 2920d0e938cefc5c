"""Tests of what decides about VMs."""
