# Makes reference values of discrete-time models with strata, of contrasts and average marginal effects, and of random
# intercepts: profile intervals and the cluster sandwich of the marginal likelihood.
#   Rscript tests/reference/make_discrete_more.R
# Debian packages: r-base-core, r-cran-survival, r-cran-sandwich, r-cran-lme4, r-cran-numderiv (last run with survival
# 3.5-3, sandwich 3.0-2, lme4 1.1-31, numDeriv 2016.8-1.1); takes some minutes. Reads data/lung.csv, data/discrete_bacteria.csv;
# writes discrete_more_values.csv.
suppressMessages({library(survival); library(splines); library(sandwich); library(lme4); library(numDeriv)})
folder <- dirname(sub("--file=", "", grep("--file=", commandArgs(FALSE), value = TRUE)))
read_data <- function(name) read.csv(file.path(folder, "data", paste0(name, ".csv")))
out <- list()
add <- function(model, quantity, term, other, value)
  out[[length(out) + 1]] <<- data.frame(model, quantity, term = as.character(term), other = as.character(other),
                                        value = sprintf("%.17g", value))
tight <- function(formula, data, link) {
  fit <- suppressWarnings(glm(formula, binomial(link), data))
  for (k in 1:8) fit <- suppressWarnings(glm(formula, binomial(link), data, start = coef(fit),
                                             control = glm.control(epsilon = 1e-16, maxit = 5)))
  fit
}
d <- read_data("lung")
d$id <- seq_len(nrow(d)); d$g <- d$id %% 23
rows_of <- function(length) {
  s <- survSplit(Surv(time, event) ~ ., d, cut = seq_len(ceiling(max(d$time) / length)) * length, episode = "k")
  s$t <- s$k / 100; s$t2 <- s$t^2; s$t3 <- s$t^3
  s
}
keep <- function(model, fit, names, data) {
  b <- coef(fit)
  stopifnot(length(b) == length(names), !anyNA(b))
  parts <- list(vcov_expected = vcov(fit), robust_none = vcovCL(fit, cluster = data$g, type = "HC0", cadjust = FALSE),
                robust_stata = vcovCL(fit, cluster = data$g, type = "HC0", cadjust = TRUE))
  for (a in seq_along(b)) {
    add(model, "coef", names[a], "", b[a])
    for (q in names(parts)) for (c in seq_along(b)) add(model, q, names[a], names[c], parts[[q]][a, c])
  }
  add(model, "loglik", "", "", as.numeric(logLik(fit)))
  add(model, "n_obs", "", "", nrow(data))
}
strata <- c("strata[sex=1]", "strata[sex=2]")
within <- function(terms) c(outer(terms, 1:2, function(t, s) paste0(strata[s], ":", t)))
w <- rows_of(7)
w$s1 <- as.integer(w$sex == 1); w$s2 <- as.integer(w$sex == 2)
for (link in c("logit", "cloglog", "probit")) {
  fit <- tight(y ~ age + ph_ecog + s1:(t + t2 + t3) + s2:(t + t2 + t3) + s2, transform(w, y = event), link)
  # glm puts the main effect before the products.
  order <- c("_cons", "age", "ph_ecog", "strata[sex=2]", "strata[sex=1]:t", "strata[sex=1]:t2", "strata[sex=1]:t3",
             "strata[sex=2]:t", "strata[sex=2]:t2", "strata[sex=2]:t3")
  keep(paste0("strata_cubic_", link), fit, order, w)
  # The same model with full interactions, as a user of R would write it.
  full <- tight(event ~ age + ph_ecog + factor(sex) * (t + t2 + t3), w, link)
  add(paste0("strata_cubic_", link), "coef_full", "age", "", coef(full)["age"])
  add(paste0("strata_cubic_", link), "coef_full", "ph_ecog", "", coef(full)["ph_ecog"])
  add(paste0("strata_cubic_", link), "loglik_full", "", "", as.numeric(logLik(full)))
  se <- sqrt(diag(vcov(full)))
  add(paste0("strata_cubic_", link), "se_full", "age", "", se["age"])

  # Hazard and survival of both sexes, their difference, by the delta method with numerical derivatives.
  V <- vcov(fit)
  design <- function(s, k, age = 60, ecog = 1) {
    t <- k / 100; p <- cbind(t, t^2, t^3)
    cbind(1, age, ecog, s == 2, p * (s == 1), p * (s == 2))
  }
  inverse <- binomial(link)$linkinv
  k <- 1:60
  survival <- function(b, s) cumprod(1 - inverse(as.numeric(design(s, k) %*% b)))
  hazard <- function(b, s) inverse(as.numeric(design(s, k) %*% b))
  for (what in c("survival", "hazard")) {
    f <- get(what)
    gap <- function(b) f(b, 2) - f(b, 1)
    J <- jacobian(gap, coef(fit))
    se <- sqrt(rowSums((J %*% V) * J))
    for (j in c(1, 10, 30, 60)) {
      add(paste0("strata_cubic_", link), what, "1", j, f(coef(fit), 1)[j])
      add(paste0("strata_cubic_", link), what, "2", j, f(coef(fit), 2)[j])
      add(paste0("strata_cubic_", link), paste0(what, "_gap"), "", j, gap(coef(fit))[j])
      add(paste0("strata_cubic_", link), paste0(what, "_gap_se"), "", j, se[j])
    }
  }
}
basis <- ns(w$k, df = 3)
w$n1 <- basis[, 1]; w$n2 <- basis[, 2]; w$n3 <- basis[, 3]
fit <- tight(event ~ age + ph_ecog + s1:(n1 + n2 + n3) + s2:(n1 + n2 + n3) + s2, w, "logit")
keep("strata_ns_logit", fit, c("_cons", "age", "ph_ecog", "strata[sex=2]", paste0("strata[sex=1]:ns", 1:3),
                               paste0("strata[sex=2]:ns", 1:3)), w)
h <- rows_of(100)
with_events <- lapply(1:2, function(s) sort(unique(h$k[h$event == 1 & h$sex == s])))
h <- h[(h$sex == 1 & h$k %in% with_events[[1]]) | (h$sex == 2 & h$k %in% with_events[[2]]), ]
h$s2 <- as.integer(h$sex == 2)
columns <- names <- NULL
for (s in 1:2) for (k in with_events[[s]][-1]) {
  h[[paste0("d", s, "_", k)]] <- as.integer(h$sex == s & h$k == k)
  columns <- c(columns, paste0("d", s, "_", k)); names <- c(names, paste0("strata[sex=", s, "]:period[", k, "]"))
}
fit <- tight(as.formula(paste("event ~ age + ph_ecog + s2 +", paste(columns, collapse = " + "))), h, "cloglog")
keep("strata_dummies_cloglog", fit, c("_cons", "age", "ph_ecog", "strata[sex=2]", names), h)

# Average marginal effects, by hand: the mean over rows, numerical derivatives by the coefficients.
for (link in c("logit", "cloglog", "probit")) {
  fit <- tight(event ~ age + ph_ecog + I(sex - 1) + t + t2 + t3, w, link)
  X <- model.matrix(fit); family <- binomial(link)
  robust <- vcovCL(fit, cluster = w$g, type = "HC0", cadjust = TRUE)
  effects <- function(b) {
    eta <- as.numeric(X %*% b)
    one <- zero <- X; one[, 4] <- 1; zero[, 4] <- 0
    c(age = mean(family$mu.eta(eta)) * b[[2]], ph_ecog = mean(family$mu.eta(eta)) * b[[3]],
      sex_derivative = mean(family$mu.eta(eta)) * b[[4]],
      sex_change = mean(family$linkinv(as.numeric(one %*% b)) - family$linkinv(as.numeric(zero %*% b))))
  }
  J <- jacobian(effects, coef(fit), method.args = list(eps = 1e-5))
  e <- effects(coef(fit))
  for (a in seq_along(e)) {
    add(paste0("effects_", link), "estimate", names(e)[a], "", e[a])
    add(paste0("effects_", link), "std_error", names(e)[a], "", sqrt(J[a, ] %*% vcov(fit) %*% J[a, ]))
    add(paste0("effects_", link), "robust", names(e)[a], "", sqrt(J[a, ] %*% robust %*% J[a, ]))
  }
}

# Random intercepts: the marginal likelihood of a group by integrate(), differentiated numerically.
b <- read_data("discrete_bacteria")
b$cluster <- b$id %% 17
x <- cbind(b$active, b$high, b$week, 1)
labels <- c("active", "high", "week", "_cons")
for (link in c("logit", "cloglog")) {
  model <- paste0("random_", link)
  fit <- suppressWarnings(glmer(y ~ active + high + week + (1 | id), b, family = binomial(link), nAGQ = 25, control = glmerControl(
    optimizer = "bobyqa", optCtrl = list(maxfun = 1e5, rhoend = 1e-10), tolPwrss = 1e-13, check.conv.grad = "ignore")))
  theta <- c(fixef(fit)[c(2, 3, 4, 1)], log(getME(fit, "theta")))
  of_group <- function(theta, rows) {
    eta <- as.numeric(x[rows, , drop = FALSE] %*% theta[1:4]); sigma <- exp(theta[5])
    logf <- function(u) sapply(u, function(v) {
      e <- eta + sigma * v
      sum(if (link == "logit") plogis(ifelse(b$y[rows] == 1, e, -e), log.p = TRUE)
          else ifelse(b$y[rows] == 1, log(-expm1(-exp(e))), -exp(e))) + dnorm(v, log = TRUE)
    })
    top <- optimize(logf, c(-8, 8), maximum = TRUE, tol = 1e-8)
    f <- function(u) exp(logf(u) - top$objective)
    top$objective + log(integrate(f, top$maximum - 10, top$maximum, rel.tol = 1e-12, subdivisions = 2000)$value +
                          integrate(f, top$maximum, top$maximum + 10, rel.tol = 1e-12, subdivisions = 2000)$value)
  }
  parts <- split(seq_len(nrow(b)), b$id)
  # lme4 stops early: a few Newton steps on the numerical derivatives of the integral end at its maximum.
  for (k in 1:4) {
    g <- t(sapply(parts, function(rows) grad(of_group, theta, rows = rows)))
    H <- -Reduce(`+`, lapply(parts, function(rows) hessian(of_group, theta, rows = rows)))
    theta <- theta + solve(H, colSums(g))
  }
  g <- t(sapply(parts, function(rows) grad(of_group, theta, rows = rows)))
  H <- -Reduce(`+`, lapply(parts, function(rows) hessian(of_group, theta, rows = rows)))
  whole <- c(labels, "log_sigma")
  variance <- function(u) sqrt(diag(solve(H) %*% crossprod(u) %*% solve(H)))
  by_group <- variance(g)
  u <- rowsum(g, b$cluster[match(as.integer(names(parts)), b$id)])
  by_cluster <- variance(u)
  add(model, "loglik", "", "", sum(sapply(parts, function(rows) of_group(theta, rows))))
  for (a in seq_along(theta)) {
    add(model, "theta", whole[a], "", theta[a])
    add(model, "model_error", whole[a], "", sqrt(diag(solve(H)))[a])
    add(model, "group_error", whole[a], "", by_group[a])
    add(model, "cluster_error", whole[a], "", by_cluster[a])
  }
  add(model, "n_cluster", "", "", nrow(u))
  ci <- suppressMessages(suppressWarnings(confint(fit, method = "profile", quiet = TRUE)))
  label <- c(.sig01 = "sigma", active = "active", high = "high", week = "week", `(Intercept)` = "_cons")
  for (r in rownames(ci)) for (c in 1:2) add(model, c("lme4_low", "lme4_high")[c], label[[r]], "", ci[r, c])
}
write.csv(do.call(rbind, out), file.path(folder, "discrete_more_values.csv"), row.names = FALSE, quote = FALSE)
