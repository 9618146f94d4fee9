"""Reports: tables, figures, HTML."""
