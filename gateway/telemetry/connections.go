package telemetry

// addConnections registers what becomes of client connections when there are too many.
func (m *Metrics) addConnections() {
	f := m.counters("client_connections_dropped_total",
		"Client connections closed while idle to make room for others, and refused as more than one client may have.")
	m.room, m.refused = f.counter(label("reason", "room")), f.counter(label("reason", "per_client"))
}

// Room counts client connections that were closed to make room for others.
func (m *Metrics) Room(n int) {
	if m != nil {
		m.room.Add(n)
	}
}

// Refused counts a connection of a client that has all that it may have.
func (m *Metrics) Refused() {
	if m != nil {
		m.refused.Inc()
	}
}
