// Package inference knows what passes through the gateway when it is a request to a model.
//
// Its door are the Scanner and the Form, which find in a body as it lies what decides about a request; the Table, which leads the
// name of a model to the model; the Dialect of a path, with the shape of its errors and of the events of its answers; and
// the lists of models, as upstreams tell them and as clients are told.
//
// It does not know connections, pools, keys and limits, and it changes nothing: it says where bytes stand and what is to stand
// there. Whatever it reads is borrowed, and nothing on a request's way allocates.
package inference
