package httpapi

import (
	"net/http"
)

// ruleOperations are the gateway's own operations on rules and roles, beside
// AWS's. A test may read shadows, tables and secrets: it needs the right to
// write.
func (s *Server) ruleOperations() []operation {
	if s.services.Rules == nil {
		return nil
	}
	return []operation{
		{"GET /tidehold/v1/rules/{rule}/trace", "tidehold:Read", everything, func(_ api, r *http.Request) (any, error) {
			return s.services.Rules.RuleTrace(r.PathValue("rule"))
		}},
		{"POST /tidehold/v1/test-rule", "tidehold:Write", everything, func(a api, r *http.Request) (any, error) {
			return s.services.Rules.TestRule(r.Context(), a.body)
		}},
		{"GET /tidehold/v1/roles", "tidehold:Read", everything, s.value(s.services.Rules.Roles)},
		{"GET /tidehold/v1/roles/{role}", "tidehold:Read", everything, func(_ api, r *http.Request) (any, error) {
			return s.services.Rules.Role(r.PathValue("role"))
		}},
		{"POST /tidehold/v1/roles/{role}", "tidehold:Write", everything, s.putRole(false)},
		{"PUT /tidehold/v1/roles/{role}", "tidehold:Write", everything, s.putRole(true)},
		{"DELETE /tidehold/v1/roles/{role}", "tidehold:Write", everything, func(_ api, r *http.Request) (any, error) {
			return struct{}{}, s.services.Rules.DeleteRole(r.Context(), r.PathValue("role"))
		}},
	}
}

// putRole takes the document of a role as the body.
func (s *Server) putRole(replace bool) call {
	return func(a api, r *http.Request) (any, error) {
		name := r.PathValue("role")
		if err := s.services.Rules.PutRole(r.Context(), name, a.body, replace); err != nil {
			return nil, err
		}
		return s.services.Rules.Role(name)
	}
}
