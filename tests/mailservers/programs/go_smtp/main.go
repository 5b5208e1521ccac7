// go-smtp as a program would use it: port, notes and, where encrypted, the chain and the key.
package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strings"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

type backend struct{ notes *os.File }

// A session begins anew after STARTTLS; connections are counted by the listener.
func (b backend) NewSession(*smtp.Conn) (smtp.Session, error) {
	return &session{notes: b.notes}, nil
}

type listener struct {
	net.Listener
	notes *os.File
}

func (l listener) Accept() (net.Conn, error) {
	connection, err := l.Listener.Accept()
	if err == nil {
		_, err = fmt.Fprintln(l.notes, "session")
	}
	return connection, err
}

type session struct {
	notes      *os.File
	recipients []string
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "user" || password != "right" {
			return smtp.ErrAuthFailed
		}
		return nil
	}), nil
}

func (s *session) Mail(string, *smtp.MailOptions) error { return nil }

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "dead-") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	}
	s.recipients = append(s.recipients, to)
	return nil
}

func (s *session) Data(text io.Reader) error {
	if _, err := io.Copy(io.Discard, text); err != nil {
		return err
	}
	_, err := fmt.Fprintln(s.notes, strings.Join(s.recipients, "\n"))
	return err
}

func (s *session) Reset() { s.recipients = nil }

func (s *session) Logout() error { return nil }

func main() {
	notes, err := os.OpenFile(os.Args[2], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		log.Fatal(err)
	}
	open, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	server := smtp.NewServer(backend{notes})
	server.Domain = "mail.example"
	if len(os.Args) > 3 {
		certificate, err := tls.LoadX509KeyPair(os.Args[3], os.Args[4])
		if err != nil {
			log.Fatal(err)
		}
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}}
	}
	log.Fatal(server.Serve(listener{open, notes}))
}
