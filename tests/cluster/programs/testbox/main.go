// Command testbox is the only program in the image that the cluster tool makes by itself: the pause container
// of every pod, and for tests of the cluster a container that ends, fails, eats memory or asks a question.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	command, arguments := "pause", []string{}
	if len(os.Args) > 1 {
		command, arguments = os.Args[1], os.Args[2:]
	}
	if err := run(command, arguments); err != nil {
		fmt.Fprintln(os.Stderr, "testbox:", err)
		os.Exit(1)
	}
}

func run(command string, arguments []string) error {
	argument := func(index int, fallback string) string {
		if index < len(arguments) {
			return arguments[index]
		}
		return fallback
	}
	switch command {
	case "pause":
		pause()
	case "print":
		fmt.Println(strings.Join(arguments, " "))
	case "exit":
		code, err := strconv.Atoi(argument(0, "0"))
		if err != nil {
			return err
		}
		os.Exit(code)
	case "sleep":
		pauseFor, err := time.ParseDuration(argument(0, "1s"))
		if err != nil {
			return err
		}
		time.Sleep(pauseFor)
	case "cat":
		content, err := os.ReadFile(argument(0, ""))
		if err != nil {
			return err
		}
		os.Stdout.Write(content)
	case "write":
		return os.WriteFile(argument(0, ""), []byte(argument(1, "")), 0o644)
	case "allocate":
		mebibytes, err := strconv.Atoi(argument(0, "64"))
		if err != nil {
			return err
		}
		allocate(mebibytes)
	case "resolve":
		addresses, err := net.LookupHost(argument(0, "kubernetes.default.svc.cluster.local"))
		if err != nil {
			return err
		}
		fmt.Println(strings.Join(addresses, " "))
	case "dial":
		connection, err := net.DialTimeout("tcp", argument(0, ""), 10*time.Second)
		if err != nil {
			return err
		}
		fmt.Println("connected to", connection.RemoteAddr())
		return connection.Close()
	case "serve":
		return http.ListenAndServe(argument(0, ":8080"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(w, "hello from", r.Host)
		}))
	default:
		return fmt.Errorf("no command %q", command)
	}
	return nil
}

// pause holds the pod's namespaces until it is told to go. As process 1 of a shared process namespace it also
// has to collect the orphans of the other containers.
func pause() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGINT, syscall.SIGTERM)
	children := make(chan os.Signal, 16)
	signal.Notify(children, syscall.SIGCHLD)
	for {
		select {
		case <-end:
			return
		case <-children:
			for {
				var status syscall.WaitStatus
				if pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil); pid <= 0 || err != nil {
					break
				}
			}
		}
	}
}

// allocate touches every page, so that the memory is really used, and then holds it.
func allocate(mebibytes int) {
	held := make([][]byte, 0, mebibytes)
	for range mebibytes {
		block := make([]byte, 1<<20)
		for index := 0; index < len(block); index += 4096 {
			block[index] = 1
		}
		held = append(held, block)
	}
	fmt.Println("holding", len(held), "MiB")
	pause()
}
