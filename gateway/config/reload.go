package config

// NeedRestart lists the variables in which next differs from s and which a reload cannot change.
func (s *Settings) NeedRestart(next *Settings) (names []string) {
	for _, one := range declarations() {
		if one.restart && s.given.values[one.name].text != next.given.values[one.name].text {
			names = append(names, one.name)
		}
	}
	return names
}
