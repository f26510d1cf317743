package config

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const stopLimit = 8 * time.Second

var output sync.Mutex

// Log writes a line of this program's own to the journal.
func Log(format string, values ...any) { line("k3s", fmt.Sprintf(format, values...)) }

func line(who, text string) {
	output.Lock()
	defer output.Unlock()
	fmt.Fprintf(os.Stderr, "%s: %s\n", who, text)
}

// Notify tells systemd, if it asked for it.
func Notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	connection, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		Log("cannot tell systemd %q: %v", state, err)
		return
	}
	defer connection.Close()
	_, _ = connection.Write([]byte(state))
}

// Process is a program that runs as long as this one wants it, and no longer than this one.
type Process struct {
	Name string
	Pid  int
	// Done is closed at its end, after Err was set.
	Done chan struct{}
	Err  error
	// Last is what it wrote last, for a sentence about its end.
	Last string
	// Removed is set once etcd has said that its member was removed.
	Removed bool
}

const removedText = "permanently removed from the cluster"

// Child runs a part of this executable: `k3s <name> args…`.
func Child(ctx context.Context, name string, args, env []string) (*Process, error) {
	return program(ctx, name, "/proc/self/exe", append([]string{"k3s", name}, args...), env)
}

// Program runs another one.
func Program(ctx context.Context, name, path string, args, env []string) (*Process, error) {
	return program(ctx, name, path, append([]string{path}, args...), env)
}

type order struct {
	command *exec.Cmd
	started chan error
}

var orders = startStarter()

// startStarter has one thread start all of them: the kernel takes the thread, not the process, for the parent whose end
// is a child's end, and threads of Go may end.
func startStarter() chan order {
	queue := make(chan order)
	go func() {
		runtime.LockOSThread()
		for one := range queue {
			one.started <- one.command.Start()
		}
	}()
	return queue
}

func program(ctx context.Context, name, path string, argv, env []string) (*Process, error) {
	command := &exec.Cmd{Path: path, Args: argv, Env: childEnvironment(env)}
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	command.Stdout, command.Stderr = writer, writer
	request := order{command, make(chan error)}
	orders <- request
	err = <-request.started
	writer.Close()
	if err != nil {
		reader.Close()
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	process := &Process{Name: name, Pid: command.Process.Pid, Done: make(chan struct{})}
	go process.copyLines(reader)
	go process.await(command)
	go process.stopWith(ctx, command)
	return process, nil
}

// childEnvironment keeps systemd's socket to ourselves: a part that is ready is not the whole.
func childEnvironment(more []string) []string {
	all := []string{}
	for _, one := range os.Environ() {
		if len(one) < 14 || one[:14] != "NOTIFY_SOCKET=" {
			all = append(all, one)
		}
	}
	return append(all, more...)
}

func (p *Process) copyLines(from io.ReadCloser) {
	defer from.Close()
	reader := bufio.NewReader(from)
	for {
		text, err := reader.ReadString('\n')
		if len(text) > 1 {
			p.Last = text[:len(text)-1]
			p.Removed = p.Removed || strings.Contains(p.Last, removedText)
			line(p.Name, p.Last)
		}
		if err != nil {
			return
		}
	}
}

func (p *Process) await(command *exec.Cmd) {
	p.Err = command.Wait()
	close(p.Done)
}

// stopWith asks it to end, then insists.
func (p *Process) stopWith(ctx context.Context, command *exec.Cmd) {
	select {
	case <-p.Done:
		return
	case <-ctx.Done():
	}
	_ = command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.Done:
	case <-time.After(stopLimit):
		_ = command.Process.Kill()
	}
}

// End is an error that says that and how it ended.
func (p *Process) End() error {
	if p.Err == nil {
		return fmt.Errorf("%s ended by itself: %s", p.Name, p.Last)
	}
	return fmt.Errorf("%s ended: %w: %s", p.Name, p.Err, p.Last)
}

// Signals is a context that ends when this program is asked to.
func Signals() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
}
