using Aqua

Aqua.test_all(DiffGeo; ambiguities=(; broken=false))
