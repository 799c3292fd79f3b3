package ctl

import (
	"bufio"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/tidehold/tidehold/gateway/access"
	"github.com/tidehold/tidehold/gateway/ids"
)

// user: password identities stand in the configuration (security.users); what an
// entry needs is the hash, which is made without the daemon.
func (o *options) user() *cobra.Command {
	var policies []string
	hash := verb("hash [NAME]", "Read a password and print its argon2id hash; with NAME as an entry for security.users", cobra.MaximumNArgs(1), func(cmd *cobra.Command, args []string) error {
		password, err := readPassword(cmd.InOrStdin(), cmd.ErrOrStderr())
		if err != nil {
			return fmt.Errorf("user hash: %w", err)
		}
		hash := access.HashPassword([]byte(password), ids.New(rand.Reader))
		if len(args) == 0 {
			fmt.Fprintln(cmd.OutOrStdout(), hash)
			return nil
		}
		fmt.Fprintf(cmd.OutOrStdout(), "security:\n  users:\n    - {name: %q, password: %q, policies: [%s]}\n", args[0], hash, strings.Join(policies, ", "))
		return nil
	})
	hash.Flags().StringSliceVar(&policies, "policy", nil, "policies of the entry; without any it may do nothing")
	return group("user", "Password identities of devices without certificates", hash,
		verb("list", "List them, and what they may do", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd, "GET", "/tidehold/v1/users", nil, o.columns(column{"USER", "userName", false}, column{"POLICIES", "policies", false}))
		}))
}

// readPassword reads one line; a terminal does not show it.
func readPassword(in io.Reader, prompt io.Writer) (string, error) {
	if file, is := in.(*os.File); is {
		if shown, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS); err == nil {
			hidden := *shown
			hidden.Lflag &^= unix.ECHO
			if err := unix.IoctlSetTermios(int(file.Fd()), unix.TCSETS, &hidden); err != nil {
				return "", err
			}
			defer fmt.Fprintln(prompt)
			defer unix.IoctlSetTermios(int(file.Fd()), unix.TCSETS, shown)
			fmt.Fprint(prompt, "Password: ")
		}
	}
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", err
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", UsageError{fmt.Errorf("the password is empty")}
	}
	return line, nil
}
