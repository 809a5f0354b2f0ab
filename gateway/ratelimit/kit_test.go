package ratelimit

import (
	"testing"

	"aigateway/gateway/testkit"
)

func TestMain(m *testing.M) {
	testkit.Parallel("4") // what is about Redis waits for most of its time
	testkit.VerifyNoLeaks(m)
}
