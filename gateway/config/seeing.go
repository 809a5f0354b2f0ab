package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// The parsers of what an operator wants to see.

// share parses a part of one.
func share(text string) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v >= 0 && v <= 1) {
		return 0, fmt.Errorf("%q is not a number between 0 and 1", text)
	}
	return v, nil
}

// maxModels bounds the series of metrics that a list of models makes.
const maxModels = 100

// models parses names of models, which are what services call them: anything but a comma.
func models(text string) ([]string, error) {
	var list []string
	var faults []error
	for item := range strings.SplitSeq(text, ",") {
		item = strings.TrimSpace(item)
		switch {
		case item == "" || len(item) > 128 || strings.ContainsFunc(item, func(c rune) bool { return c < ' ' || c == 0x7f || c == 0xfffd }):
			faults = append(faults, fmt.Errorf("%q is not the name of a model", item))
		case slices.Contains(list, item):
			faults = append(faults, fmt.Errorf("%q is named twice", item))
		default:
			list = append(list, item)
		}
	}
	if len(list) > maxModels {
		faults = append(faults, fmt.Errorf("names %d models; metrics have room for %d", len(list), maxModels))
	}
	slices.Sort(list)
	return list, errors.Join(faults...)
}

// collectorURL parses where an OpenTelemetry collector listens. A path is part of the base, as the convention of the
// variable has it.
func collectorURL(text string) (*url.URL, error) {
	if strings.Contains(text, "@") {
		return nil, errors.New("has an @: a collector's password goes into OTEL_EXPORTER_OTLP_HEADERS")
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not a URL such as http://collector:4318", text)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimRight(u.Path, "/")}, nil
}

// fields parses name=value pairs, comma-separated, percent-encoded (W3C Baggage without properties), and quotes no value.
func fields(text string) ([]Field, error) {
	var list []Field
	var faults []error
	for i, item := range strings.Split(text, ",") {
		name, value, ok := strings.Cut(item, "=")
		name = strings.TrimSpace(name)
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || err != nil || !isToken(name) || strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			faults = append(faults, fmt.Errorf("entry %d is not of the form name=value, percent-encoded", i+1))
			continue
		}
		list = append(list, Field{name, value})
	}
	return list, errors.Join(faults...)
}

// isToken tells whether text may be a field's name: RFC 9110 §5.6.2.
func isToken(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
	})
}
