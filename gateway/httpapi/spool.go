package httpapi

import "net/http"

// spoolImport takes messages as they were exported: its bodies may be larger
// than those of other requests, because a message is longer there.
const (
	spoolImport         = "POST /tidehold/v1/spool/import"
	spoolImportBytesMax = 1 << 20
)

// spoolOperations are the routes of the spool.
func (s *Server) spoolOperations() []operation {
	if s.services.Spool == nil {
		return nil
	}
	return []operation{
		{"GET /tidehold/v1/spool/export", "tidehold:Read", everything, s.exportSpool},
		{"GET /tidehold/v1/spool/{what}", "tidehold:Read", everything, s.lookSpool},
		{spoolImport, "tidehold:Write", everything, s.doSpool},
		{"POST /tidehold/v1/spool/{verb}", "tidehold:Write", everything, s.doSpool},
	}
}

// bodyMax is the largest body of an operation.
func (o operation) bodyMax() int64 {
	if o.pattern == spoolImport {
		return spoolImportBytesMax
	}
	return BodyBytesMax
}

func (s *Server) lookSpool(_ api, r *http.Request) (any, error) {
	return s.services.Spool.SpoolLook(r.Context(), r.PathValue("what"), r.URL.Query())
}

func (s *Server) exportSpool(_ api, r *http.Request) (any, error) {
	return stream(func(write func([]byte) error) error {
		return s.services.Spool.SpoolExport(r.Context(), r.URL.Query(), write)
	}), nil
}

func (s *Server) doSpool(a api, r *http.Request) (any, error) {
	verb := r.PathValue("verb")
	if r.Pattern == spoolImport {
		verb = "import"
	}
	return s.services.Spool.SpoolDo(r.Context(), verb, a.body)
}
