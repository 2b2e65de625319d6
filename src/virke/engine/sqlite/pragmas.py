"""Which PRAGMAs and functions SQL may use: the lists of docs/sql.md. Knows names only."""

from __future__ import annotations

from typing import Final

ALLOWED: Final = frozenset(
    "analysis_limit application_id auto_vacuum case_sensitive_like cell_size_check defer_foreign_keys encoding "
    "foreign_keys ignore_check_constraints incremental_vacuum legacy_alter_table optimize page_size recursive_triggers "
    "reverse_unordered_selects user_version".split()
)
READ_ONLY: Final = frozenset(
    "collation_list compile_options data_version database_list foreign_key_check foreign_key_list freelist_count "
    "function_list index_info index_list index_xinfo integrity_check module_list page_count pragma_list quick_check "
    "schema_version table_info table_list table_xinfo".split()
)
WITH_ARGUMENT: Final = frozenset(
    "foreign_key_check foreign_key_list index_info index_list index_xinfo integrity_check quick_check table_info "
    "table_list table_xinfo".split()
)
QUIET: Final = frozenset(
    "automatic_index busy_timeout cache_size cache_spill checkpoint_fullfsync fullfsync journal_mode journal_size_limit "
    "locking_mode max_page_count mmap_size read_uncommitted secure_delete synchronous temp_store threads "
    "wal_autocheckpoint wal_checkpoint".split()
)
ANSWERING: Final = frozenset(
    "busy_timeout journal_mode journal_size_limit locking_mode max_page_count secure_delete threads "
    "wal_autocheckpoint wal_checkpoint".split()
)
"""Of `QUIET`, what SQLite answers with a row when it is set: here the row says what holds."""
MODES: Final = frozenset(
    "analysis_limit case_sensitive_like cell_size_check ignore_check_constraints legacy_alter_table recursive_triggers "
    "reverse_unordered_selects".split()
)
"""Of `ALLOWED`, what belongs to SQLite's connection and not to the database: holds for one request, 0 is the default."""
DENIED_FUNCTIONS: Final = frozenset({"load_extension", "fts3_tokenizer"})
