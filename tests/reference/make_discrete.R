# Makes the reference values of the binary-outcome and discrete-time models with R's glm.
#   Rscript tests/reference/make_discrete.R
# Debian packages: r-base-core, r-cran-survival, r-cran-sandwich, r-cran-brglm2, r-cran-lme4, r-cran-hmisc,
# r-cran-cardata, r-cran-numderiv. Reads discrete_models.csv and data/*.csv; writes data/discrete_infert.csv,
# discrete_endometrial.csv, discrete_rossi.csv, discrete_bacteria.csv and discrete_values.csv, discrete_firth.csv, discrete_random.csv,
# discrete_predict.csv, discrete_versions.csv. Takes some minutes: the person-periods are built the slow, obvious way.
suppressMessages({library(survival); library(splines); library(sandwich); library(brglm2); library(lme4)})
folder <- dirname(sub("--file=", "", grep("--file=", commandArgs(FALSE), value = TRUE)))
save_data <- function(d, name)
  write.csv(format(d, digits = 17, trim = TRUE), file.path(folder, "data", paste0(name, ".csv")),
            row.names = FALSE, quote = FALSE)
read_data <- function(name) read.csv(file.path(folder, "data", paste0(name, ".csv")))

i <- datasets::infert
save_data(data.frame(case = i$case, age = i$age, parity = i$parity, spontaneous = i$spontaneous, induced = i$induced,
                     stratum = i$stratum, weight = 1 + (seq_len(nrow(i)) %% 3) / 2, shift = (i$age - 31) / 40), "discrete_infert")
data(endometrial, package = "brglm2")
save_data(endometrial, "discrete_endometrial")
r <- carData::Rossi
save_data(data.frame(week = r$week, arrest = r$arrest, fin = as.integer(r$fin == "yes"), age = r$age,
                     race = as.integer(r$race == "black"), wexp = as.integer(r$wexp == "yes"),
                     mar = as.integer(r$mar == "married"), paro = as.integer(r$paro == "yes"), prio = r$prio), "discrete_rossi")
b <- MASS::bacteria
save_data(data.frame(y = as.integer(b$y == "y"), active = as.integer(b$ap == "a"), high = as.integer(b$hilo == "hi"),
                     week = b$week, id = as.integer(b$ID)), "discrete_bacteria")

out <- list()
add <- function(model, quantity, term, other, value)
  out[[length(out) + 1]] <<- data.frame(model, quantity, term, other, value = sprintf("%.17g", value))
write_out <- function(name) {
  write.csv(do.call(rbind, out), file.path(folder, name), row.names = FALSE, quote = FALSE)
  out <<- list()
}

# Person-periods, the slow obvious way: survSplit at every boundary, then one row a subject and period.
lengths <- c(day = 1, week = 7, month = 365.25 / 12, year = 365.25)
period_rows <- function(d, response, covariates, spec) {
  length <- if (spec$period %in% names(lengths)) lengths[[spec$period]] else as.numeric(spec$period)
  n <- length(response)
  d$.stop <- d[[response[n - 1]]]; d$.event <- d[[response[n]]]
  d$.start <- if (n == 3) d[[response[1]]] else 0
  d$.id <- if (spec$id == "") seq_len(nrow(d)) else d[[spec$id]]
  cuts <- seq_len(ceiling(max(d$.stop) / length)) * length
  s <- survSplit(Surv(.start, .stop, .event) ~ ., d, cut = cuts, episode = ".period")
  s <- s[order(s$.id, s$.start), ]
  columns <- unique(c(covariates, if (spec$weights != "") spec$weights, if (spec$offset != "") spec$offset))
  rows <- lapply(split(s, list(s$.id, s$.period), drop = TRUE), function(g) {
    if (any(g$.event == 1)) g <- g[seq_len(which(g$.event == 1)[1]), ]
    length_of <- g$.stop - g$.start
    row <- g[1, ]
    if (spec$covariates == "end") row[columns] <- g[nrow(g), columns]
    if (spec$covariates == "mean") row[columns] <- lapply(g[columns], function(v) sum(v * length_of) / sum(length_of))
    k <- g$.period[1]
    row$.y <- max(g$.event)
    row$.cut <- row$.y == 0 && g$.stop[nrow(g)] < k * length
    row$.share <- (sum(length_of) + if (row$.y == 1) k * length - g$.stop[nrow(g)] else 0) / length
    row
  })
  p <- do.call(rbind, rows)
  if (spec$partial == "drop") p <- p[!p$.cut, ]
  p
}
# Percentiles of Harrell's table, as Hmisc uses from 100 observations on.
percentiles <- list(c(.1, .5, .9), c(.05, .35, .65, .95), c(.05, .275, .5, .725, .95))
basis_of <- function(t, y, spec) {
  knots <- if (spec$knots == "") NULL else as.numeric(strsplit(spec$knots, ";")[[1]])
  df <- if (spec$df == "") NULL else as.integer(spec$df)
  numbered <- function(b, stem) { b <- as.matrix(unclass(b)); colnames(b) <- paste0(stem, seq_len(ncol(b))); b }
  switch(spec$baseline,
    constant = matrix(0, length(t), 0),
    linear = cbind(t = t), log = cbind(ln_t = log(t)),
    cubic = cbind(t = t / 100, t2 = (t / 100)^2, t3 = (t / 100)^3),
    ns = numbered(if (is.null(df)) ns(t, knots = knots) else ns(t, df = df), "ns"),
    rcs = {
      if (is.null(knots)) knots <- quantile(t, percentiles[[df - 1]])
      numbered(Hmisc::rcspline.eval(t, knots = knots, inclx = TRUE), "rcs")
    },
    dummies = {
      levels <- sort(unique(t[y == 1]))
      if (spec$empty == "pool") t <- sapply(t, function(v) if (v > max(levels)) max(levels) else min(levels[levels >= v]))
      b <- outer(t, levels[-1], "==") + 0
      colnames(b) <- paste0("period[", levels[-1], "]")
      b
    })
}
# The log-likelihood of a row in the linear predictor, differentiated by R.
pieces <- list(
  logit = deriv3(~ -y * log(1 + exp(-eta)) - (1 - y) * log(1 + exp(eta)), "eta"),
  probit = deriv3(~ y * log(pnorm(eta)) + (1 - y) * log(pnorm(-eta)), "eta"),
  cloglog = deriv3(~ y * log(1 - exp(-exp(eta))) - (1 - y) * exp(eta), "eta"))
observed_information <- function(link, X, y, w, eta) {
  h <- -attr(eval(pieces[[link]]), "hessian")[, 1, 1]
  crossprod(X, X * (w * h))
}
tight_glm <- function(X, y, w, off, link) {
  family <- binomial(link)
  fit <- suppressWarnings(glm(y ~ X - 1, family = family, weights = w, offset = off))
  # Scoring for other links than the logit shrinks linearly: go on from where it stopped.
  for (k in 1:8) fit <- suppressWarnings(glm(y ~ X - 1, family = family, weights = w, offset = off, start = coef(fit),
                                             control = glm.control(epsilon = 1e-16, maxit = 5)))
  fit
}
prepare <- function(spec) {
  d <- read_data(spec$data)
  sides <- strsplit(spec$formula, "~")[[1]]
  covariates <- trimws(strsplit(sides[2], "\\+")[[1]])
  if (spec$baseline == "") {
    X <- as.matrix(d[covariates]); y <- d[[trimws(sides[1])]]
  } else {
    response <- trimws(strsplit(gsub("Surv\\(|\\)", "", sides[1]), ",")[[1]])
    d <- period_rows(d, response, covariates, spec)
    d <- d[order(d$.id, d$.period), ]
    if (spec$baseline == "dummies" && spec$empty == "drop") d <- d[d$.period %in% d$.period[d$.y == 1], ]
    X <- cbind(as.matrix(d[covariates]), basis_of(d$.period, d$.y, spec)); y <- d$.y
  }
  X <- cbind(X, `_cons` = 1)
  w <- if (spec$weights == "") rep(1, nrow(d)) else d[[spec$weights]]
  off <- if (spec$offset == "") rep(0, nrow(d)) else d[[spec$offset]]
  if (spec$partial == "offset") off <- off + log(d$.share)
  list(d = d, X = X, y = y, w = w, off = off)
}

models <- read.csv(file.path(folder, "discrete_models.csv"), colClasses = "character")
for (i in seq_len(nrow(models))) {
  spec <- models[i, ]
  p <- prepare(spec)
  terms <- colnames(p$X)
  fit <- tight_glm(p$X, p$y, p$w, p$off, spec$link)
  null <- tight_glm(matrix(1, nrow(p$X), 1), p$y, p$w, p$off, spec$link)
  bread <- solve(observed_information(spec$link, p$X, p$y, p$w, fit$linear.predictors))
  parts <- list(vcov_expected = vcov(fit), vcov_observed = bread)
  if (spec$cluster != "") {
    g <- p$d[[spec$cluster]]
    parts$robust_none <- vcovCL(fit, cluster = g, type = "HC0", cadjust = FALSE)
    parts$robust_stata <- vcovCL(fit, cluster = g, type = "HC0", cadjust = TRUE)
    u <- rowsum(estfun(fit), g)
    parts$robust_observed <- bread %*% crossprod(u) %*% bread
    add(spec$model, "n_cluster", "", "", nrow(u))
  }
  # Of many dummies only the variances are kept.
  many <- length(terms) > 20
  for (a in seq_along(terms)) {
    add(spec$model, "coef", terms[a], "", coef(fit)[a])
    for (name in names(parts)) for (b in if (many) a else seq_along(terms))
      add(spec$model, name, terms[a], terms[b], parts[[name]][a, b])
  }
  likelihood <- function(f) {
    eta <- f$linear.predictors; y <- p$y
    sum(p$w * as.numeric(eval(pieces[[spec$link]])))
  }
  add(spec$model, "loglik", "", "", likelihood(fit))
  add(spec$model, "loglik_null", "", "", likelihood(null))
  add(spec$model, "n_obs", "", "", length(p$y))
  add(spec$model, "n_event", "", "", sum(p$y))
  add(spec$model, "n_subject", "", "", if (spec$baseline == "") length(p$y) else length(unique(p$d$.id)))
}
write_out("discrete_values.csv")

# Firth's logit: brglm2 for the estimates; its profile by optim and uniroot.
fisher <- function(X, beta) { q <- plogis(X %*% beta); crossprod(X, X * as.numeric(q * (1 - q))) }
penalized <- function(beta, X, y) {
  eta <- as.numeric(X %*% beta)
  sum(plogis(ifelse(y == 1, eta, -eta), log.p = TRUE)) + 0.5 * as.numeric(determinant(fisher(X, beta))$modulus)
}
held <- function(j, value, beta, X, y) {
  best <- beta[-j]
  whole <- function(part) append(part, value, j - 1)
  for (k in 1:4) best <- optim(best, function(part) -penalized(whole(part), X, y), method = "BFGS",
                               control = list(reltol = 1e-16, maxit = 1000, ndeps = rep(1e-5, length(best)),
                                              parscale = pmax(abs(beta[-j]), 0.01)))$par
  penalized(whole(best), X, y)
}
firth <- list(endometrial = list(data = "discrete_endometrial", y = "HG", x = c("NV", "PI", "EH")),
              infert = list(data = "discrete_infert", y = "case", x = c("parity", "spontaneous", "induced")),
              ovarian = list(data = "ovarian", y = "fustat", x = c("age", "rx")))
for (name in names(firth)) {
  s <- firth[[name]]
  d <- read_data(s$data)
  X <- cbind(as.matrix(d[s$x]), `_cons` = 1); y <- d[[s$y]]
  fit <- glm(y ~ X - 1, family = binomial, method = "brglmFit", type = "AS_mean", epsilon = 1e-14, maxit = 10000)
  beta <- unname(coef(fit)); top <- penalized(beta, X, y)
  V <- solve(fisher(X, beta))
  add(name, "loglik", "", "", top)
  null <- optimize(function(c) penalized(c(rep(0, ncol(X) - 1), c), X, y), c(-5, 5), maximum = TRUE, tol = 1e-12)
  add(name, "loglik_null", "", "", null$objective)
  for (a in seq_along(beta)) {
    term <- colnames(X)[a]
    add(name, "coef", term, "", beta[a])
    for (b in seq_along(beta)) add(name, "vcov", term, colnames(X)[b], V[a, b])
    f <- function(v) 2 * (top - held(a, v, beta, X, y)) - qchisq(0.95, 1)
    se <- sqrt(V[a, a])
    add(name, "low", term, "", uniroot(f, beta[a] - c(8, 0.5) * se, tol = 1e-9 * se)$root)
    add(name, "high", term, "", uniroot(f, beta[a] + c(0.5, 8) * se, tol = 1e-9 * se)$root)
    add(name, "lr", term, "", 2 * (top - held(a, 0, beta, X, y)))
  }
}
write_out("discrete_firth.csv")

# Random intercepts: lme4's estimates, its likelihood there, and the same integral by R's integrate().
random <- list(
  bacteria_logit = list(data = "discrete_bacteria", y = "y", x = c("active", "high", "week"), g = "id", link = "logit"),
  bacteria_cloglog = list(data = "discrete_bacteria", y = "y", x = c("active", "high", "week"), g = "id", link = "cloglog"),
  pbcseq_logit = list(model = "pbcseq_logit_month"),
  cgd_cloglog = list(model = "cgd_cloglog_week"))
for (name in names(random)) {
  s <- random[[name]]
  if (is.null(s$model)) {
    d <- read_data(s$data)
    X <- cbind(as.matrix(d[s$x]), `_cons` = 1); y <- d[[s$y]]; g <- d[[s$g]]; link <- s$link
  } else {
    spec <- models[models$model == s$model, ]
    p <- prepare(spec)
    X <- p$X; y <- p$y; g <- p$d[[spec$id]]; link <- spec$link
  }
  frame <- data.frame(y = y, g = factor(g)); frame$X <- X
  fit <- suppressMessages(suppressWarnings(glmer(
    y ~ X - 1 + (1 | g), frame, family = binomial(link), nAGQ = 25,
    control = glmerControl(optimizer = "bobyqa", optCtrl = list(maxfun = 1e5, rhoend = 1e-10), tolPwrss = 1e-13,
                           check.conv.grad = "ignore"))))
  beta <- fixef(fit); sigma <- getME(fit, "theta")
  eta <- as.numeric(X %*% beta)
  one <- function(rows) {
    inside <- function(u) sapply(u, function(v) {
      e <- eta[rows] + sigma * v
      logp <- if (link == "logit") plogis(ifelse(y[rows] == 1, e, -e), log.p = TRUE)
              else ifelse(y[rows] == 1, log(-expm1(-exp(e))), -exp(e))
      sum(logp) + dnorm(v, log = TRUE)
    })
    mode <- optimize(inside, c(-8, 8), maximum = TRUE, tol = 1e-8)
    f <- function(u) exp(inside(u) - mode$objective)
    sides <- integrate(f, mode$maximum - 12, mode$maximum, rel.tol = 1e-12, subdivisions = 2000)$value +
      integrate(f, mode$maximum, mode$maximum + 12, rel.tol = 1e-12, subdivisions = 2000)$value
    mode$objective + log(sides)
  }
  add(name, "loglik_lme4", "", "", as.numeric(logLik(fit)))
  add(name, "loglik_integrate", "", "", sum(sapply(split(seq_along(y), g), one)))
  add(name, "sigma", "", "", sigma)
  for (a in seq_along(beta)) {
    add(name, "coef", colnames(X)[a], "", beta[a])
    add(name, "std_error", colnames(X)[a], "", sqrt(diag(as.matrix(vcov(fit, use.hessian = TRUE))))[a])
  }
}
write_out("discrete_random.csv")

# Predicted hazard and survival: predict.glm, and the delta method with numerical derivatives.
spec <- models[models$model == "lung_cloglog_cubic", ]
spec$weights <- spec$offset <- ""
for (link in c("logit", "cloglog", "probit")) {
  p <- prepare(spec)
  fit <- tight_glm(p$X, p$y, p$w, p$off, link)
  t <- 1:60
  X <- cbind(age = 65, sex = 1, ph_ecog = 2, t = t / 100, t2 = (t / 100)^2, t3 = (t / 100)^3, `_cons` = 1)
  V <- solve(observed_information(link, p$X, p$y, p$w, fit$linear.predictors))
  inverse <- binomial(link)$linkinv
  log_survival <- function(beta) cumsum(log(1 - inverse(as.numeric(X %*% beta))))
  J <- numDeriv::jacobian(log_survival, coef(fit))
  S <- exp(log_survival(coef(fit)))
  se_log <- sqrt(rowSums((J %*% V) * J))
  eta <- as.numeric(X %*% coef(fit)); se <- sqrt(rowSums((X %*% V) * X))
  z <- qnorm(0.975)
  for (k in t) {
    add(link, "hazard", k, "", inverse(eta[k]))
    add(link, "std_error", k, "", binomial(link)$mu.eta(eta[k]) * se[k])
    add(link, "conf_low", k, "", inverse(eta[k] - z * se[k]))
    add(link, "conf_high", k, "", inverse(eta[k] + z * se[k]))
    add(link, "survival", k, "", S[k])
    add(link, "survival_std_error", k, "", S[k] * se_log[k])
    add(link, "survival_low", k, "", S[k]^exp(z * se_log[k] / -log(S[k])))
    add(link, "survival_high", k, "", S[k]^exp(-z * se_log[k] / -log(S[k])))
  }
}
write_out("discrete_predict.csv")

packages <- c("survival", "splines", "sandwich", "brglm2", "lme4", "Hmisc", "MASS", "carData", "numDeriv")
write.csv(data.frame(package = c("R", packages),
                     version = c(as.character(getRversion()), sapply(packages, function(p) as.character(packageVersion(p))))),
          file.path(folder, "discrete_versions.csv"), row.names = FALSE, quote = FALSE)
