// Runs the tests of exporter-toolkit against the Python web layer. The test copies this file into the module's package.

package web

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
)

// ListenAndServe starts a Python process that serves the address, and returns its error output when it has ended.
func ListenAndServe(server *http.Server, flags *FlagConfig, _ *slog.Logger) error {
	process, err := start((*flags.WebListenAddresses)[0], *flags.WebConfigFile)
	if err != nil {
		return err
	}
	go server.Serve(process)
	<-process.ended
	return errors.New(process.stderr.String())
}

// pythonProcess is a listener of the Go server, which closes it when the test closes the server.
//
// Its socket is opened before Python starts, so that connections wait in the queue. It stays open when Python ends with
// an error, so that the test gets this error, not that of a connection.
type pythonProcess struct {
	net.Listener
	command *exec.Cmd
	stderr  bytes.Buffer
	ended   chan struct{}
	closed  chan struct{}
}

func start(address, webConfig string) (*pythonProcess, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	process := &pythonProcess{Listener: listener, ended: make(chan struct{}), closed: make(chan struct{})}
	if err := process.run(webConfig); err != nil {
		listener.Close()
		return nil, err
	}
	return process, nil
}

// run passes the socket to Python as systemd does. The shell knows the process ID that Python will have.
func (p *pythonProcess) run(webConfig string) error {
	socket, err := p.Listener.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	defer socket.Close()
	p.command = exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, os.Getenv("PYTHON"), os.Getenv("SERVE"), webConfig)
	p.command.Env = append(os.Environ(), "LISTEN_FDS=1")
	p.command.ExtraFiles = []*os.File{socket}
	p.command.Stdout = os.Stdout
	p.command.Stderr = io.MultiWriter(&p.stderr, os.Stdout)
	if err := p.command.Start(); err != nil {
		return err
	}
	go func() {
		p.command.Wait()
		close(p.ended)
	}()
	return nil
}

// Accept accepts nothing, because Python accepts the connections.
func (p *pythonProcess) Accept() (net.Conn, error) {
	<-p.closed
	return nil, net.ErrClosed
}

// Close stops Python and waits for its end, because the next test uses the same port.
func (p *pythonProcess) Close() error {
	defer close(p.closed)
	p.command.Process.Signal(syscall.SIGTERM)
	<-p.ended
	return p.Listener.Close()
}
