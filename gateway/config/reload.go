package config

// NeedRestart lists the variables in which next differs from s and which a reload cannot change.
func (s *Settings) NeedRestart(next *Settings) (names []string) {
	for _, one := range declarations() {
		if one.restart && s.given.values[one.name].text != next.given.values[one.name].text {
			names = append(names, one.name)
		}
	}
	if (len(s.TLS.Certificates) == 0) != (len(next.TLS.Certificates) == 0) {
		names = append(names, "TLS_CERT_FILE") // the files may change, HTTPS or not is for good
	}
	if len(s.TLS.TicketKeys) > 0 && len(next.TLS.TicketKeys) == 0 && len(next.TLS.Certificates) > 0 {
		names = append(names, "TLS_TICKET_KEYS_FILE") // other keys may come, but the process does not go back to its own
	}
	return names
}
