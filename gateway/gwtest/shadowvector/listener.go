package shadowvector

import (
	"slices"
	"sync"
	"time"
)

// listener keeps what a client hears until a step asks for it.
type listener struct {
	client Client

	mu     sync.Mutex
	unread []Message
	news   chan struct{} // closed and replaced at every message
}

func newListener() *listener { return &listener{news: make(chan struct{})} }

func (l *listener) hear(m Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unread = append(l.unread, m)
	close(l.news)
	l.news = make(chan struct{})
}

// next takes the oldest unread message on exactly this topic, waited for.
func (l *listener) next(topic string, wait time.Duration) (Message, bool) {
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	for {
		m, ok, news := l.take(topic)
		if ok {
			return m, true
		}
		select {
		case <-news:
		case <-deadline.C:
			m, ok, _ = l.take(topic)
			return m, ok
		}
	}
}

func (l *listener) take(topic string) (Message, bool, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.unread, func(m Message) bool { return m.Topic == topic })
	if i < 0 {
		return Message{}, false, l.news
	}
	m := l.unread[i]
	l.unread = slices.Delete(l.unread, i, i+1)
	return m, true, l.news
}

func (l *listener) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unread = nil
}

// topics names what is unread, for failure messages.
func (l *listener) topics() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	names := make([]string, len(l.unread))
	for i, m := range l.unread {
		names[i] = m.Topic
	}
	return names
}
