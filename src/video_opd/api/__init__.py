"""The bodies of the public API; `video_opd` itself exports them. Use `import video_opd`, not these modules."""
