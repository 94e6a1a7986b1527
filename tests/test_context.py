from __future__ import annotations


def test_source_user_and_job_of_set_context_stand_on_the_row(each_db, new, changes):
    each_db.execute("SELECT llamalog.set_context(source => 'addAlbum', job_id => 'add-1', user_id => 'ann')")
    new.album(each_db)
    assert changes(each_db, "category, source, user_id, job_id, is_root_job") == [
        ("CREATED", "addAlbum", "ann", "add-1", True)
    ]
