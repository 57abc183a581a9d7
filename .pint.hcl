# pint also queries this Prometheus, which must scrape the demo. `pint --offline` skips these checks.
prometheus "demo" {
  uri = "http://localhost:9090"
}
