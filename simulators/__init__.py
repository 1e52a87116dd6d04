"""Simulators that come with Simyard. Each folder stands alone and imports nothing of ours."""
