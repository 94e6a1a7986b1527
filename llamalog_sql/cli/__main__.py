"""python -m llamalog_sql.cli"""

from llamalog_sql.cli import main

main()
