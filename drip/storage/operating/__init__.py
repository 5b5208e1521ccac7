"""What the operator and other programs work with: daemons, alarms, keys, log-ins."""
