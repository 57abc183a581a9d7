# pint checks the rules against this Prometheus, which must scrape the demo. `--offline` leaves these checks out.
prometheus "demo" {
  uri = "http://localhost:9090"
}
