"""Options of the process as a whole, which no result depends on; set where a command starts."""

verify = "full"  # full or size: how `artifacts.integrity` checks the files of finished stages
