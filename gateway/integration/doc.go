// Package integration tests what a user gets: the real gateway binary in front of a real FastAPI process, a real Express
// process and the simulator of -demo, over real sockets.
//
// Everything here is a test behind the build tag "integration"; `make test-integration` installs what the tests need and
// sets the two variables they read:
//
//	AIGATEWAY_PYTHON    the Python of a venv that has backends/python/requirements-dev.txt, as an absolute path
//	AIGATEWAY_NODE_DIR  backends/node with its modules installed, as an absolute path; node itself is in the PATH
//
// A test that needs one of them, or a program, that is not there is skipped and says so. Nothing waits for a fixed time:
// a process is ready when it says so itself or when /readyz does. Every process ends by its process id with the test that
// started it, and a test that fails shows what its processes said.
//
// The package knows of the gateway only what README.md promises; it imports no room.
package integration
