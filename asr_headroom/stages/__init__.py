"""What each verb does, given its config: the command line and recipes both call these."""
