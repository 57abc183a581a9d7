"""The pages for people: the status page and the runbooks."""
