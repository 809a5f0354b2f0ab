package config

// NeedRestart lists the variables in which next differs from s and which a reload cannot change.
func (s *Settings) NeedRestart(next *Settings) (names []string) {
	for _, one := range declarations() {
		if one.restart && s.given.values[one.name].text != next.given.values[one.name].text {
			names = append(names, one.name)
		}
	}
	if (s.TLS.Certificate == nil) != (next.TLS.Certificate == nil) {
		names = append(names, "TLS_CERT_FILE") // the files may change, HTTPS or not is for good
	}
	return names
}
