// Command claims reads one JSON request a line and answers each with one JSON line:
// {"decode": TOKEN} says what the library reads, {"issue": {...}} what it writes.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

type request struct {
	Decode string  `json:"decode"`
	Creds  string  `json:"creds"`
	Issue  *wanted `json:"issue"`
}

type wanted struct {
	Kind          string   `json:"kind"`
	Seed          string   `json:"seed"`
	Subject       string   `json:"subject"`
	Name          string   `json:"name"`
	Expires       int64    `json:"expires"`
	NotBefore     int64    `json:"not_before"`
	SigningKeys   []string `json:"signing_keys"`
	ScopedKey     string   `json:"scoped_key"`
	Role          string   `json:"role"`
	IssuerAccount string   `json:"issuer_account"`
	Tags          []string `json:"tags"`
	Revoked       []string `json:"revoked"`
	Allow         []string `json:"allow"`
	Strict        bool     `json:"strict"`
	Scoped        bool     `json:"scoped"`
	UserSeed      string   `json:"user_seed"`
}

type answer struct {
	Error   string `json:"error,omitempty"`
	Kind    string `json:"kind,omitempty"`
	Issues  int    `json:"issues"`
	Subject string `json:"subject,omitempty"`
	Issuer  string `json:"issuer,omitempty"`
	Name    string `json:"name,omitempty"`
	ID      string `json:"jti,omitempty"`
	Expires int64  `json:"exp,omitempty"`
	Token   string `json:"token,omitempty"`
	Creds   string `json:"creds,omitempty"`
	Seed    string `json:"seed,omitempty"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var asked request
		var said answer
		err := json.Unmarshal(lines.Bytes(), &asked)
		if err == nil {
			said, err = answerTo(asked)
		}
		if err != nil {
			said = answer{Error: err.Error()}
		}
		line, err := json.Marshal(said)
		if err != nil {
			panic(err)
		}
		fmt.Println(string(line))
	}
}

func answerTo(asked request) (answer, error) {
	switch {
	case asked.Issue != nil:
		return issue(asked.Issue)
	case asked.Creds != "":
		token, err := jwt.ParseDecoratedJWT([]byte(asked.Creds))
		if err != nil {
			return answer{}, err
		}
		pair, err := jwt.ParseDecoratedUserNKey([]byte(asked.Creds))
		if err != nil {
			return answer{}, err
		}
		seed, err := pair.Seed()
		return answer{Token: token, Seed: string(seed)}, err
	default:
		return decode(asked.Decode)
	}
}

func decode(token string) (answer, error) {
	claims, err := jwt.Decode(token)
	if err != nil {
		return answer{}, err
	}
	results := jwt.CreateValidationResults()
	claims.Validate(results)
	data := claims.Claims()
	return answer{
		Kind:    string(claims.ClaimType()),
		Issues:  len(results.Issues),
		Subject: data.Subject,
		Issuer:  data.Issuer,
		Name:    data.Name,
		ID:      data.ID,
		Expires: data.Expires,
	}, nil
}

func issue(want *wanted) (answer, error) {
	pair, err := nkeys.FromSeed([]byte(want.Seed))
	if err != nil {
		return answer{}, err
	}
	var claims jwt.Claims
	switch want.Kind {
	case jwt.OperatorClaim:
		operator := jwt.NewOperatorClaims(want.Subject)
		operator.SigningKeys.Add(want.SigningKeys...)
		operator.StrictSigningKeyUsage = want.Strict
		claims = operator
	case jwt.AccountClaim:
		account := jwt.NewAccountClaims(want.Subject)
		account.SigningKeys.Add(want.SigningKeys...)
		if want.ScopedKey != "" {
			scope := jwt.NewUserScope()
			scope.Key, scope.Role = want.ScopedKey, want.Role
			scope.Template.Pub.Allow.Add(want.Allow...)
			account.SigningKeys.AddScopedSigner(scope)
		}
		for _, key := range want.Revoked {
			account.RevokeAt(key, time.Now())
		}
		account.Tags.Add(want.Tags...)
		claims = account
	case jwt.UserClaim:
		user := jwt.NewUserClaims(want.Subject)
		user.IssuerAccount = want.IssuerAccount
		user.SetScoped(want.Scoped)
		user.Tags.Add(want.Tags...)
		if !want.Scoped {
			user.Pub.Allow.Add(want.Allow...)
		}
		claims = user
	default:
		return answer{}, fmt.Errorf("unknown kind %q", want.Kind)
	}
	data := claims.Claims()
	data.Name, data.Expires, data.NotBefore = want.Name, want.Expires, want.NotBefore
	token, err := claims.Encode(pair)
	if err != nil {
		return answer{}, err
	}
	said := answer{Token: token, ID: data.ID}
	if want.UserSeed != "" {
		creds, err := jwt.FormatUserConfig(token, []byte(want.UserSeed))
		if err != nil {
			return answer{}, err
		}
		said.Creds = string(creds)
	}
	return said, nil
}
