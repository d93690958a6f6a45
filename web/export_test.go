package web

const MaxOwnConns = maxOwnConns
