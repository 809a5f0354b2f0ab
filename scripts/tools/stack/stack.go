// Package stack holds the tests of the files that run the gateway elsewhere:
// compose, Kubernetes, Helm, workflows, Prometheus and Grafana. They need no engine
// and no cluster. It is a module of its own, because what reads those files is
// large and the gateway shall not depend on it.
package stack
