package wire

// aliasesMax bounds the topic aliases given to one client, whatever it allows:
// each costs its topic in memory.
const aliasesMax = 64

// Aliases are the topic aliases given to one client (MQTT 5, 3.3.2.3.4): first
// come, first served, for the life of the connection. A topic that comes when
// all are given goes in full, so a client with more topics than aliases never
// pays for names that change. The nil Aliases gives none. Not for concurrent use.
type Aliases struct {
	max   int
	given map[string]uint16
}

// NewAliases gives up to limit aliases, what the client announced.
func NewAliases(limit uint16) *Aliases {
	if limit == 0 {
		return nil
	}
	return &Aliases{max: min(int(limit), aliasesMax), given: make(map[string]uint16)}
}

// Of gives the alias of a topic, 0 when there is none to give. known: the
// client has been told, so the topic need not be sent.
func (a *Aliases) Of(topic string) (alias uint16, known bool) {
	if a == nil {
		return 0, false
	}
	if alias, known = a.given[topic]; known {
		return alias, true
	}
	if len(a.given) >= a.max {
		return 0, false
	}
	return uint16(len(a.given) + 1), false
}

// Told notes that the client has been sent the alias that Of gave.
func (a *Aliases) Told(topic string, alias uint16) { a.given[topic] = alias }
