"""Options of a run that takes a moment."""

LIMITED = ("--category", "chair", "--methods", "ellipsoids", "--limit", "10", "--count", "8", "--quiet")
