"""What starts runs, one file for each kind of trigger; `table` says which is for
which."""
